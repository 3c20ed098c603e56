// Runs the tour in README.md and the one in docs/tour.md as they stand, with bash and curl, against a service on a socket.
import { execFile, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { ON_SERVER, OPERATOR_KEY, startApp } from '../support/app.ts'
import { createClock } from '../support/clock.ts'
import { programOf } from '../support/guides.ts'

const HAS_TOOLS = ['bash', 'curl'].every((tool) => spawnSync(tool, ['--version']).status === 0)
const options = HAS_TOOLS ? ON_SERVER : { skip: 'needs bash and curl' }

// The tour computes codes by the clock of the machine, so the service must follow it too.
const clock = { ...createClock(), now: () => new Date() }
const { url } = await startApp(t, { listen: true, clock })
/** Stands for the folder of the repository after the first start. */
const folder = t.testdir({
  data: { 'keys.json': JSON.stringify({ operatorKey: OPERATOR_KEY }) },
  node_modules: t.fixture('symlink', fileURLToPath(new URL('../../node_modules', import.meta.url)))
})

/** Runs the bash blocks of a page as one script, and returns the JSON documents that it prints. */
async function documentsPrintedBy(page: string): Promise<unknown[]> {
  const script = await programOf({ page, language: 'bash' })
  const { stdout } = await promisify(execFile)(
    'bash',
    ['-euo', 'pipefail', '-c', script.replaceAll('http://localhost:3000', url)],
    { cwd: folder }
  )
  const lines = stdout.split('\n').filter((line) => line.startsWith('{"'))
  return lines.map((line) => JSON.parse(line))
}

t.test('the short tour in README.md sets up an authenticator and signs in', options, async (t) => {
  t.match(await documentsPrintedBy('../README.md'), [
    { email: 'ada@example.com' },
    { twoFactor: 'required' },
    { status: 'authenticated', reason: 'enrolled' },
    { status: 'authenticated', reason: 'code_verified' }
  ])
})

t.test(
  'docs/tour.md signs in with codes and a recovery code, on the same service',
  options,
  async (t) => {
    t.match(await documentsPrintedBy('tour.md'), [
      { slug: 'globex', apiKey: { key: String } },
      { email: 'ada@example.com' },
      { twoFactor: 'required' },
      { status: 'authenticated', reason: 'enrolled' },
      { status: 'authenticated', reason: 'code_verified' },
      { keys: [{ kty: 'EC' }] },
      { email: 'ada@example.com', role: 'member' },
      { code: 'code-rejected', attemptsRemaining: Number },
      { status: 'authenticated', reason: 'recovery_code_verified' },
      { twoFactor: 'optional' },
      { email: 'ada@example.com', nextSignIn: 'enrollment_required' },
      { status: 'enrollment_required', reason: 'reset_pending' }
    ])
  }
)
