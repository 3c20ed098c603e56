// Every package accepts every Node that the service supports, and an older Node is refused in one line.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import t from 'tap'
import { refusalOf } from '../../src/settings/supported-node.ts'

const { satisfies } = createRequire(import.meta.url)('semver') as {
  satisfies(version: string, range: string): boolean
}
const root = new URL('../../', import.meta.url)
const read = (path: string) => JSON.parse(readFileSync(new URL(path, root), 'utf8'))

interface Locked {
  version: string
  dev?: boolean
  devOptional?: boolean
  engines?: { node?: string }
}

const lock: { packages: Record<string, Locked> } = read('package-lock.json')
const OLDEST = '20.19.0'
const SUPPORTED = [OLDEST, '20.20.0', '22.12.0', '24.0.0', '25.0.0']

/** Returns the packages that refuse one of these versions of Node, as `npm ci` warns (EBADENGINE). */
function refusing(versions: readonly string[], isMeant: (one: Locked) => boolean): string[] {
  return Object.entries(lock.packages).flatMap(([path, one]) => {
    const range = one.engines?.node ?? '*'
    const isRefused = versions.some((version) => !satisfies(version, range))
    return isMeant(one) && isRefused ? [`${path} ${one.version} wants Node ${range}`] : []
  })
}

t.test('no package of production refuses a Node that the service supports', async (t) => {
  t.ok(Object.keys(lock.packages).length > 500)
  t.same(
    refusing(SUPPORTED, ({ dev, devOptional }) => !dev && !devOptional),
    []
  )
})

t.test('no package refuses the oldest Node that the service supports', async (t) => {
  t.same(
    refusing([OLDEST], () => true),
    []
  )
})

t.test('an older Node is refused with its version', async (t) => {
  for (const version of ['14.21.3', '18.20.8', '20.18.3', '21.7.3', '22.11.0', '23.11.0']) {
    t.equal(
      refusalOf(version),
      `twostep needs Node ^20.19 || ^22.12 || >=24, and this is Node ${version}`
    )
  }
  for (const version of [...SUPPORTED, '20.19.5', '100.0.0']) t.equal(refusalOf(version), null)
})

t.test('each program checks the version before anything else', async (t) => {
  for (const file of [
    'src/server.ts',
    'src/commands/migrate.ts',
    'src/commands/audit.ts',
    'src/commands/keys.ts'
  ]) {
    const [first] = readFileSync(new URL(file, root), 'utf8').match(/^import .*$/m) ?? []
    t.match(first, /^import '\.{1,2}\/settings\/supported-node\.ts'$/, file)
  }
})

t.test('the build is refused on an older Node in one line', async (t) => {
  // Stands for an older Node: the version is all that the check reads.
  const old = `data:text/javascript,Object.defineProperty(process.versions,'node',{value:'18.20.8'})`
  const { status, stderr, stdout } = spawnSync(
    process.execPath,
    ['--import', old, 'prisma/generate.mjs'],
    { cwd: root, encoding: 'utf8' }
  )
  t.equal(status, 1)
  t.equal(stdout, '')
  t.equal(stderr, 'twostep needs Node ^20.19 || ^22.12 || >=24, and this is Node 18.20.8\n')
})
