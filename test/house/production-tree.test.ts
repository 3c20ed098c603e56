// The deployed files, built as for the image, in a folder that has no other node_modules above it.
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { ON_SERVER, verbsOver } from '../support/app.ts'
import { createEmptyDatabase } from '../support/database.ts'
import { startServer } from '../support/server.ts'

interface Lock {
  packages: Record<string, { version: string; integrity?: string; dev?: true; devOptional?: true }>
}

const root = fileURLToPath(new URL('../../', import.meta.url))
const readLock = async (path: string): Promise<Lock> => JSON.parse(await readFile(path, 'utf8'))

/** The size in the README, with room for one or two patches. */
const MEGABYTES_MAX = 71
const run = promisify(execFile)

// This runs once in CI, for both engines, because it takes as long as an install.
t.test('the production tree', ON_SERVER, async (t) => {
  const parent = await mkdtemp(join(tmpdir(), 'twostep-production-'))
  t.teardown(() => rm(parent, { recursive: true, force: true }))
  const tree = join(parent, 'tree')
  await run(join(root, '.ci/production-tree'), [tree])

  await t.test('the tree contains the built service, and no source, test or tool', async (t) => {
    const names = ['LICENSE', 'dist', 'node_modules', 'package.json', 'prisma']
    t.same((await readdir(tree)).sort(), names)
    t.same(await readdir(join(tree, 'prisma')), ['migrations'])
    t.notOk((await readdir(join(tree, 'dist'))).includes('tools'), 'only developers run tools')
    const { packages: locked } = await readLock(join(root, 'package-lock.json'))
    const installed = await readLock(join(tree, 'node_modules/.package-lock.json'))
    const packages = Object.entries(installed.packages)
    t.ok(packages.length > 100, 'the packages are found')
    const strangers = packages.filter(([path, { version, integrity }]) => {
      const known = locked[path]
      return known?.version !== version || known.integrity !== integrity
    })
    t.same(strangers, [], 'each package is the one in the lock')
    const isTool = ([path]: [string, unknown]) => locked[path]?.dev || locked[path]?.devOptional
    t.same(packages.filter(isTool), [], 'no package is only for development')
    const { stdout: megabytes } = await run('du', ['-sm', tree])
    t.ok(
      Number.parseInt(megabytes, 10) <= MEGABYTES_MAX,
      `at most the size in the README: ${megabytes}`
    )
  })

  const server = process.env['TEST_DATABASE_URL'] ?? ''
  const databases = {
    PostgreSQL: await createEmptyDatabase(t, server),
    'the embedded database': `pglite:${t.testdir()}`
  }
  for (const [engine, DATABASE_URL] of Object.entries(databases)) {
    await t.test(
      `the service starts from the tree in production and serves requests: ${engine}`,
      async (t) => {
        const env = { DATABASE_URL, NODE_ENV: 'production', SHUTDOWN_DELAY_SECONDS: '0' }
        const { url, stop } = await startServer(t, env, join(tree, 'dist/server.js'))
        const { call, createUser, enrolled, login, verify } = verbsOver(url)
        const user = await enrolled(await createUser())
        const { stepToken } = (await login(user)).json()
        const signedIn = await verify(stepToken, user.nextCode())
        t.match(signedIn.json(), { status: 'authenticated', reason: 'code_verified' })
        for (const page of ['/docs/', '/openapi.yaml', '/.well-known/jwks.json']) {
          t.equal((await call('GET', page)).statusCode, 200, page)
        }
        t.equal(await stop(), 0)
      }
    )
  }
})

t.test('the image contains that tree and nothing else', async (t) => {
  const stages = (await readFile(join(root, 'Dockerfile'), 'utf8')).split(/^FROM /m)
  t.match(stages.at(-2), /^RUN .*&& \.ci\/production-tree \/production$/m)
  const copied = stages.at(-1)?.match(/^(COPY|ADD|RUN) .*$/gm)
  t.same(copied, ['COPY --from=build /production ./'])
})
