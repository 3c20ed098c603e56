// What is deployed: made as the image makes it, in a folder that has no other node_modules above it.
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { PASSWORD, verbsOver } from './support/app.ts'
import { createEmptyDatabase } from './support/database.ts'
import { startServer } from './support/server.ts'

interface Lock {
  packages: Record<string, { version: string; integrity?: string; dev?: true; devOptional?: true }>
}

const root = fileURLToPath(new URL('../', import.meta.url))
const readLock = async (path: string): Promise<Lock> => JSON.parse(await readFile(path, 'utf8'))

const parent = await mkdtemp(join(tmpdir(), 'twostep-production-'))
t.teardown(() => rm(parent, { recursive: true, force: true }))
const tree = join(parent, 'tree')
await promisify(execFile)(join(root, '.ci/production-tree'), [tree])

t.test('it holds what runs, and no source, no test and no tool', async (t) => {
  const names = ['LICENSE', 'dist', 'node_modules', 'package.json', 'prisma']
  t.same((await readdir(tree)).sort(), names)
  t.same(await readdir(join(tree, 'prisma')), ['migrations'])
  const { packages: locked } = await readLock(join(root, 'package-lock.json'))
  const installed = await readLock(join(tree, 'node_modules/.package-lock.json'))
  const packages = Object.entries(installed.packages)
  t.ok(packages.length > 100, 'the packages are found')
  const strangers = packages.filter(([path, { version, integrity }]) => {
    const known = locked[path]
    return known?.version !== version || known.integrity !== integrity
  })
  t.same(strangers, [], 'each is the one of the lock')
  t.same(
    packages.filter(([path]) => locked[path]?.dev || locked[path]?.devOptional),
    [],
    'and none is there for development'
  )
})

t.test('the service starts from it in production, and serves', async (t) => {
  const server = process.env['TEST_DATABASE_URL']
  const DATABASE_URL = server ? await createEmptyDatabase(t, server) : `pglite:${t.testdir()}`
  const env = { DATABASE_URL, NODE_ENV: 'production' }
  const { url } = await startServer(t, env, join(tree, 'dist/server.js'))
  const { call, createUser, enrolled, login, verify } = verbsOver(url)
  const user = await enrolled(await createUser())
  const { stepToken } = (await login({ ...user, password: PASSWORD })).json()
  const signedIn = await verify(stepToken, user.nextCode())
  t.match(signedIn.json(), { status: 'authenticated', reason: 'code_verified' })
  for (const page of ['/docs/', '/openapi.yaml', '/.well-known/jwks.json']) {
    t.equal((await call('GET', page)).statusCode, 200, page)
  }
})

t.test('the image is that tree, and nothing beside it', async (t) => {
  const stages = (await readFile(join(root, 'Dockerfile'), 'utf8')).split(/^FROM /m)
  t.match(stages.at(-2), /^RUN .*&& \.ci\/production-tree \/production$/m)
  const copied = stages.at(-1)?.match(/^(COPY|ADD|RUN) .*$/gm)
  t.same(copied, ['COPY --from=build /production ./'])
})
