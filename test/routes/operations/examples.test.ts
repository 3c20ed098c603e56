// The examples in the spec have the form of current responses.
import t from 'tap'
import { PASSWORD, startApp } from '../../support/app.ts'
import { specOf } from '../../support/contract.ts'

const service = await startApp(t)
const { call, changePolicy, createAccount, createUser, enrolled, login } = service

const schemas = specOf(service.app).components.schemas as Record<string, { examples?: unknown[] }>

/** Returns the fields of a value with the types of their values. */
function formOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(formOf)
  if (typeof value !== 'object' || value === null) return value === null ? 'null' : typeof value
  const entries = Object.entries(value).map(([name, member]) => [name, formOf(member)] as const)
  return Object.fromEntries(entries.sort(([one], [other]) => (one < other ? -1 : 1)))
}

t.test('the examples of the sign-in and of users have the form of real ones', async (t) => {
  const account = await createAccount({ slug: 'acme', name: 'Acme Inc.' })
  await changePolicy(account, { trustedDevices: { allowed: true, days: 30 } })
  const user = await createUser({ account, email: 'ada@example.com' })
  const recorded: Record<string, object> = {
    User: (await call('GET', `/v1/users/${user.id}`, { as: account.apiKey })).json()
  }
  const { nextCode } = await enrolled(user)
  recorded['VerificationRequired'] = (await login({ ...user, password: PASSWORD })).json()
  const { stepToken: as } = recorded['VerificationRequired'] as { stepToken: string }
  const body = { code: nextCode(), rememberDevice: true }
  recorded['Authenticated'] = (await call('POST', '/v1/verify', { as, body })).json()
  await changePolicy(account, { twoFactor: 'required' })
  recorded['EnrollmentRequired'] = (await login(await createUser({ account }))).json()

  for (const [name, real] of Object.entries(recorded)) {
    const [example] = schemas[name]?.examples ?? []
    t.same(formOf(example), formOf(real), name)
    const { status, reason } = { status: '', reason: '', ...real }
    if (name !== 'User') t.match(example, { status, reason }, name)
  }
  t.same(
    schemas['SignIn']?.examples,
    ['VerificationRequired', 'EnrollmentRequired', 'Authenticated'].flatMap(
      (name) => schemas[name]?.examples
    )
  )
})

t.test('every text with a pattern has an example, so that no tool invents one', async (t) => {
  const missing: string[] = []
  const search = (value: unknown, path: string): void => {
    if (typeof value !== 'object' || value === null) return
    const { pattern, examples } = value as { pattern?: string; examples?: unknown[] }
    if (pattern !== undefined && !examples) missing.push(path)
    for (const [name, member] of Object.entries(value)) search(member, `${path}/${name}`)
  }
  search(schemas, '')
  t.same(missing, [])
})
