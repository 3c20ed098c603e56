// What the tests of authenticators, two-factor and trusted devices share: the routes as functions, users with several
// factors, and assertions about everything that an act writes.
import type { Test } from 'tap'
import { v7 as uuidv7 } from 'uuid'
import { startApp, type TestUser } from '../../support/app.ts'
import type { Answer } from '../../support/calls.ts'
import { verdictOf } from '../../support/guesses.ts'
import { isProblem } from '../../support/problems.ts'
import { MAIL_WAITS } from '../../support/records.ts'

/** What an act must leave behind. */
interface Traces {
  status: number
  event: object
  mail: { kind: string; details: object } | null
}

export const idsOf = (answer: Answer): string[] =>
  answer.json().items.map(({ id }: { id: string }) => id)

/** Starts the service, with functions for everything that users do with their factors. */
export async function startWithFactors(t: Test) {
  const service = await startApp(t, { env: MAIL_WAITS })
  const { call, clock, codeAt, confirm, createUser, enroll, enrolledUser } = service
  const { prisma } = service.database
  const now = () => clock.now()

  const list = (as: string, userId = 'me') =>
    call('GET', `/v1/users/${userId}/authenticators`, { as })
  const rename = (as: string, id: string, body: object, userId = 'me') =>
    call('PATCH', `/v1/users/${userId}/authenticators/${id}`, { as, body })
  const remove = (as: string, id: string, userId = 'me') =>
    call('DELETE', `/v1/users/${userId}/authenticators/${id}`, { as })
  const turnOff = (as: string, userId = 'me') =>
    call('DELETE', `/v1/users/${userId}/two-factor`, { as })
  const listDevices = (as: string, userId = 'me') =>
    call('GET', `/v1/users/${userId}/devices`, { as })
  const revoke = (as: string, id: string, userId = 'me') =>
    call('DELETE', `/v1/users/${userId}/devices/${id}`, { as })
  const isAccepted = async (as: string) =>
    (await call('GET', '/v1/users/me', { as })).statusCode === 200

  /** Adds an authenticator to the ones that the user has. */
  async function add(as: string, body: object = {}) {
    const { authenticatorId, setupKey } = (await enroll(as, body)).json()
    const confirmed = await confirm(as, authenticatorId, codeAt(setupKey, now()))
    if (confirmed.statusCode !== 200) throw new Error(confirmed.body)
    return { authenticatorId, setupKey, accessToken: confirmed.json().accessToken as string }
  }

  /** Creates a user with a phone and a tablet, who has just signed in with a code. */
  async function userWithTwo(options: Parameters<typeof createUser>[0] = {}) {
    const user = await enrolledUser(options)
    const tablet = await add(await user.accessToken(), { name: 'Tablet' })
    return { user, tablet, as: tablet.accessToken }
  }

  /** Writes a trusted device of a user. */
  async function trust({ account, id: userId }: TestUser, { days }: { days: number }) {
    const id = uuidv7()
    const createdAt = now()
    const expiresAt = new Date(createdAt.getTime() + days * 86_400_000)
    await prisma.trustedDevice.create({
      data: { accountId: account.id, userId, id, createdAt, expiresAt }
    })
    return { id, createdAt: createdAt.toISOString(), expiresAt: expiresAt.toISOString() }
  }

  async function stateOf({ id: userId }: TestUser) {
    const ofUser = { where: { userId } }
    return {
      user: await prisma.user.findFirst({ where: { id: userId } }),
      authenticators: await prisma.authenticator.findMany({ ...ofUser, orderBy: { id: 'asc' } }),
      enrollments: await prisma.enrollment.findMany(ofUser),
      recoveryCodes: await prisma.recoveryCode.count(ofUser),
      devices: await prisma.trustedDevice.findMany({ ...ofUser, orderBy: { id: 'asc' } })
    }
  }

  /** Acts, and returns the response with the audit events of the account and the mails that the act has written. */
  async function traced({ account }: TestUser, act: () => Promise<Answer>) {
    const where = { accountId: account.id }
    const events = await prisma.auditEvent.findMany({ where })
    const mails = await prisma.outboxMail.findMany({ where })
    const answer = await act()
    const isNew = (rows: { id: string }[]) => ({
      where: { ...where, id: { notIn: rows.map(({ id }) => id) } }
    })
    return {
      answer,
      events: await prisma.auditEvent.findMany(isNew(events)),
      mails: await prisma.outboxMail.findMany(isNew(mails))
    }
  }

  /** Asserts that an act succeeds and writes exactly one audit event, and one mail to the user or none. */
  async function isDone(
    t: Test,
    user: TestUser,
    act: () => Promise<Answer>,
    { status, event, mail }: Traces
  ): Promise<Answer> {
    const { answer, events, mails } = await traced(user, act)
    t.equal(verdictOf(answer), String(status))
    t.equal(events.length, 1, 'one event')
    t.match(events[0], { outcome: 'succeeded', userId: user.id, reason: null, ...event })
    t.match(events[0], { occurredAt: now(), requestId: answer.headers['x-request-id'] })
    const { email: recipient } = user
    const sent = { occurredAt: now(), address: '127.0.0.1', recipient }
    t.equal(mails.length, mail ? 1 : 0, mail ? 'one mail' : 'no mail')
    if (mail) t.match(mails[0], { ...mail, ...sent })
    return answer
  }

  /** Asserts that an act is refused and writes nothing except the audit event of the refusal. */
  async function isRefused(
    t: Test,
    user: TestUser,
    act: () => Promise<Answer>,
    [status, code]: readonly [number, string],
    event: object = {}
  ): Promise<Record<string, unknown>> {
    const before = await stateOf(user)
    const { answer, events, mails } = await traced(user, act)
    const document = isProblem(t, answer, status, code)
    t.equal(events.length, 1, 'one event')
    t.match(events[0], { outcome: 'refused', reason: code, ...event })
    t.same(mails, [], 'no mail')
    t.same(await stateOf(user), before, 'nothing has changed')
    return document
  }

  /** Asserts that no row of two-factor is left, and that a sign-in needs only a password. */
  async function isOff(
    t: Test,
    user: TestUser,
    before: Awaited<ReturnType<typeof stateOf>>
  ): Promise<void> {
    const after = await stateOf(user)
    t.match(after.user, {
      ...raisedFrom(before),
      codeFailures: 0,
      codeLockedUntil: null,
      codeDisabledAt: null,
      recoveryFailures: 0,
      recoveryLockedUntil: null
    })
    const { authenticators, enrollments, recoveryCodes, devices } = after
    t.same([authenticators, enrollments, recoveryCodes, devices], [[], [], 0, []])
    const body = { userId: user.id, firstFactor: 'pwd' }
    const signIn = await call('POST', '/v1/login/assertion', { as: user.account.apiKey, body })
    t.match(signIn.json(), { status: 'authenticated', reason: 'not_required' })
  }

  return {
    ...service,
    prisma,
    now,
    list,
    rename,
    remove,
    turnOff,
    listDevices,
    revoke,
    isAccepted,
    add,
    userWithTwo,
    trust,
    stateOf,
    traced,
    isDone,
    isRefused,
    isOff
  }
}

/** Returns the part of a user's row after an act that has revoked the tokens and stopped the running verdicts. */
export function raisedFrom({ user }: { user: { epoch: number; codePathVersion: number } | null }) {
  const { epoch = 0, codePathVersion = 0 } = user ?? {}
  return { epoch: epoch + 1, codePathVersion: codePathVersion + 1 }
}
