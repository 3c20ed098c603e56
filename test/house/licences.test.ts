// Checks that everything that runs in production has a permissive licence, which package-lock.json states. It reads the
// lock, because `npm sbom --omit=dev` leaves out each package that a development package needs too.
import { readFile } from 'node:fs/promises'
import t from 'tap'

interface Lock {
  packages: Record<string, LockedPackage>
}

interface LockedPackage {
  version?: string
  license?: string
  dev?: boolean
  /** A development package, or an optional peer that the production tree omits. */
  devOptional?: boolean
}

/** These licences require nothing of the operator except to keep the notices, and the production tree keeps them. */
const PERMISSIVE = ['Apache-2.0', 'BSD-3-Clause', 'BlueOak-1.0.0', 'ISC', 'MIT', 'MIT-0']
/** Packages with any other licence. The value is the reason why the package may run in production. */
const EXCEPTIONS: Record<string, string> = {}

/** Returns the packages that may run in production, as `name@version: licence`. */
function licencesOf({ packages }: Lock): string[] {
  return Object.entries(packages)
    .filter(([path, { dev, devOptional }]) => path !== '' && !dev && !devOptional)
    .map(([path, { version, license = 'none' }]) => `${nameOf(path)}@${version}: ${license}`)
}

function rejectedLicences(lock: Lock, exceptions = EXCEPTIONS): string[] {
  return licencesOf(lock).filter((line) => {
    const [name = '', licence = ''] = line.split(/(?<=.)@[^@]*: /)
    return !PERMISSIVE.includes(licence) && !exceptions[name]
  })
}

function nameOf(path: string): string {
  return path.split('node_modules/').at(-1) ?? path
}

t.test('every production dependency has a licence on the list', async (t) => {
  const lock: Lock = JSON.parse(
    await readFile(new URL('../../package-lock.json', import.meta.url), 'utf8')
  )
  const lines = licencesOf(lock)
  const isListed = (name: string) => lines.some((line) => line.startsWith(`${name}@`))
  t.ok(isListed('fastify') && isListed('@node-rs/argon2'))
  // A development package needs it too: `npm sbom --omit=dev` does not list it.
  t.ok(isListed('nodemailer'))
  t.notOk(isListed('typescript') || isListed('prisma'))
  t.same(rejectedLicences(lock), [])
  t.same(
    Object.keys(EXCEPTIONS).filter((name) => !isListed(name)),
    [],
    'no exception is left over'
  )
})

t.test('a planted package without a permissive licence is rejected', async (t) => {
  const lock = {
    packages: {
      '': { version: '1.0.0' },
      'node_modules/mit': { version: '1.0.0', license: 'MIT' },
      'node_modules/mit/node_modules/@scope/copyleft': {
        version: '2.0.0',
        license: 'GPL-3.0-only'
      },
      'node_modules/silent': { version: '3.0.0' },
      'node_modules/tool': { version: '4.0.0', license: 'GPL-3.0-only', dev: true }
    }
  }
  t.same(rejectedLicences(lock), ['@scope/copyleft@2.0.0: GPL-3.0-only', 'silent@3.0.0: none'])
  t.same(rejectedLicences(lock, { '@scope/copyleft': 'its author permits it in writing' }), [
    'silent@3.0.0: none'
  ])
})
