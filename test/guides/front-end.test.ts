// Runs the program in docs/front-end.md as it stands, against a service on a socket. A test plays the person at the pages.
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import openapiTs, { astToString } from 'openapi-typescript'
import t from 'tap'
import {
  ON_EMBEDDED,
  ON_SERVER,
  PASSWORD,
  type SignIn,
  startApp,
  type TestUser
} from '../support/app.ts'
import { createClock } from '../support/clock.ts'
import { wrongCode } from '../support/guesses.ts'
import { programOf, writeProgram } from '../support/guides.ts'

type Authenticated = Extract<SignIn, { status: 'authenticated' }>
type Shown = { code: string; rememberDevice: boolean } | { recoveryCode: string }

interface Pages {
  askForCode(hint: string): Promise<Shown>
  showSetUp(enrollment: { qrCode: string; setupKey: string }, hint: string): Promise<string>
  showRecoveryCodes(codes: string[]): Promise<void>
}

interface Failure {
  problem: { code: string }
  retryAfterSeconds: number
}

/** The exports of the page's module. */
interface FrontEnd {
  signIn(email: string, password: string, pages: Pages): Promise<Authenticated>
  finish(step: SignIn, pages: Pages): Promise<Authenticated>
  setUp(credential: string, pages: Pages, name?: string): Promise<Authenticated>
  renewRecoveryCodes(accessToken: string, pages: Pages): Promise<string>
  nextStep(problem: { code: string }): string
}

const page = 'front-end.md'
const PERIOD_SECONDS = 30
const service = await startApp(t, { listen: true, clock: createClock(new Date()) })
const { url, clock, call, changePolicy, codeAt, createAccount, createUser, enrolledUser } = service

// Browsers have localStorage; Node 20 does not.
const kept = new Map<string, string>()
Object.assign(globalThis, {
  localStorage: {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => kept.set(key, value)
  }
})
const frontEnd: FrontEnd = await import(
  await writeProgram(t.testdir(), { page, language: 'ts', url })
)

const account = await createAccount({ slug: 'acme' })
await changePolicy(account, {
  twoFactor: 'required',
  trustedDevices: { allowed: true, days: 30 }
})

/** Returns pages for a person who enters these codes in turn, and a list of everything that the pages showed. */
function personWith(...answers: (() => Shown)[]) {
  const hints: string[] = []
  const codes: string[] = []
  const pages: Pages = {
    async askForCode(hint) {
      hints.push(hint)
      const answer = answers.shift()
      if (!answer) throw new Error('asked more often than expected')
      return answer()
    },
    async showSetUp() {
      throw new Error('unexpected set-up')
    },
    async showRecoveryCodes(shown) {
      codes.push(...shown)
    }
  }
  return { pages, hints, codes, asked: () => hints.length }
}

const typed =
  (code: string, rememberDevice = false) =>
  () => ({ code, rememberDevice })

function signIn({ email }: Pick<TestUser, 'email'>, pages: Pages) {
  return frontEnd.signIn(email, PASSWORD, pages)
}

/** Resolves to the failure that a page must show. */
async function failureOf(failing: Promise<unknown>): Promise<Failure> {
  return failing.then(
    () => ({ problem: { code: 'none' }, retryAfterSeconds: -1 }),
    (error) => error
  )
}

t.test(
  'a first sign-in leads through the set-up, and the hint names a wrong clock',
  ON_SERVER,
  async (t) => {
    const user = await createUser({ account })
    const { pages, codes } = personWith()
    const hints: string[] = []
    pages.showSetUp = async ({ qrCode, setupKey }, hint) => {
      t.match(qrCode, /^data:image\/svg\+xml;base64,/)
      hints.push(hint)
      const ahead = hints.length === 1 ? 300_000 : 0
      return codeAt(setupKey, new Date(clock.now().getTime() + ahead))
    }
    t.match(await signIn(user, pages), { status: 'authenticated', reason: 'enrolled' })
    t.match(hints, ['', /300 seconds ahead/])
    t.equal(codes.length, 10, 'the recovery codes are shown')
  }
)

t.test('after a wrong code the page shows a hint and asks again', ON_SERVER, async (t) => {
  const user = await enrolledUser({ account })
  const person = personWith(typed(wrongCode(user, clock.now())), typed(user.nextCode()))
  t.match(await signIn(user, person.pages), { reason: 'code_verified' })
  t.match(person.hints, ['', /Wait for the next code.* 4 guesses are left\.$/])
})

t.test(
  'the page cleans codes, and asks again without a guess if one is incomplete',
  ON_SERVER,
  async (t) => {
    const user = await enrolledUser({ account })
    const code = user.nextCode()
    const spaced = `${code.slice(0, 3)} ${code.slice(3)}\n`
    const person = personWith(typed('12345'), () => ({ recoveryCode: 'AAAA' }), typed(spaced))
    t.match(await signIn(user, person.pages), { reason: 'code_verified' })
    t.same(person.hints, [
      '',
      'A code has six digits.',
      'A recovery code has 24 letters and digits.'
    ])
    const [pasted = ''] = user.recoveryCodes
    const recoveryCode = `\t${pasted.replace('-', '-\r\n')}\n`
    const recovered = await signIn(user, personWith(() => ({ recoveryCode })).pages)
    t.match(recovered, { reason: 'recovery_code_verified' })
  }
)

t.test('a recovery code completes a sign-in that the back end started', ON_SERVER, async (t) => {
  const user = await enrolledUser({ account })
  const [recoveryCode = ''] = user.recoveryCodes
  const body = { userId: user.id, firstFactor: 'pwd' }
  const step = (await call('POST', '/v1/login/assertion', { as: account.apiKey, body })).json()
  const signedIn = await frontEnd.finish(step, personWith(() => ({ recoveryCode })).pages)
  t.match(signedIn, { reason: 'recovery_code_verified', recoveryCodesRemaining: 9 })
})

t.test('a trusted device needs no code, except for a sensitive act', ON_SERVER, async (t) => {
  const user = await enrolledUser({ account })
  await signIn(user, personWith(typed(user.nextCode(), true)).pages)
  const first = kept.get(`twostep-device:${user.email}`)
  const signedIn = await signIn(user, personWith().pages)
  t.match(signedIn, { reason: 'trusted_device' })
  t.not(kept.get(`twostep-device:${user.email}`), first, 'the newer token is kept')

  clock.advance({ seconds: PERIOD_SECONDS })
  const person = personWith(typed(user.nextCode()))
  const accessToken = await frontEnd.renewRecoveryCodes(signedIn.accessToken, person.pages)
  t.equal(person.codes.length, 10)
  t.equal(person.asked(), 1, 'after a step-up')
  await frontEnd.renewRecoveryCodes(accessToken, personWith().pages)
})

t.test('every failure leads to the next step of the page', ON_SERVER, async (t) => {
  const user = await enrolledUser({ account })
  const wrong = wrongCode(user, clock.now())
  const person = personWith(...Array.from({ length: 6 }, () => typed(wrong)))
  const spent = await failureOf(signIn(user, person.pages))
  t.match(spent.problem, { code: 'too-many-attempts', scope: 'step_token' })
  t.equal(frontEnd.nextStep(spent.problem), 'password')

  const slip = () => failureOf(frontEnd.signIn(user.email, 'wrong', personWith().pages))
  const slips = [await slip(), await slip(), await slip(), await slip(), await slip()]
  t.match(slips[0], { problem: { code: 'invalid-credentials' }, retryAfterSeconds: 0 })
  const [last] = slips.slice(-1)
  t.match(last?.problem, { code: 'too-many-attempts' })
  t.ok(last && last.retryAfterSeconds > 0 && frontEnd.nextStep(last.problem) === 'wait')

  const locked = { code: 'too-many-attempts', scope: 'user', recoveryOpen: true }
  t.equal(frontEnd.nextStep(locked), 'recovery-code')
  t.equal(frontEnd.nextStep({ code: 'enrollment-expired' }), 'set-up')
  t.equal(frontEnd.nextStep({ code: 'unavailable' }), 'wait')
})

t.test('the program compiles with the types of openapi.yaml', ON_EMBEDDED, async (t) => {
  const description = new URL('../../openapi.yaml', import.meta.url)
  const types = astToString(await openapiTs(description, { silent: true }))
  t.same(
    compileErrors({
      'sign-in.ts': await programOf({ page, language: 'ts' }),
      'twostep.d.ts': types
    }),
    []
  )
})

/** Returns the errors of TypeScript in files of a front end, with the strictest options. */
function compileErrors(files: Record<string, string>): string[] {
  const ts = createRequire(import.meta.url)('typescript') as typeof import('typescript')
  // In the folder of this file, so that the compiler finds the packages.
  const folder = fileURLToPath(new URL('.', import.meta.url))
  const texts = new Map(Object.entries(files).map(([name, text]) => [join(folder, name), text]))
  const options = {
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    noEmit: true,
    skipLibCheck: true,
    types: [],
    lib: ['lib.es2023.d.ts', 'lib.dom.d.ts'],
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    allowImportingTsExtensions: true
  }
  const host = ts.createCompilerHost(options)
  const { fileExists, readFile } = host
  host.fileExists = (path) => texts.has(path) || fileExists(path)
  host.readFile = (path) => texts.get(path) ?? readFile(path)
  const program = ts.createProgram([...texts.keys()], options, host)
  return ts
    .getPreEmitDiagnostics(program)
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, ' '))
}
