// The account's people: made by its back end, changed by it, by its admins, and in part by themselves.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import type { Audit } from '../../audit/audit.ts'
import type { AuditDetails } from '../../core/audit/events.ts'
import { judgePassword } from '../../core/passwords.ts'
import { generateId } from '../../crypto/ids.ts'
import type { PasswordHashing } from '../../crypto/password-hashing.ts'
import type { Policies } from '../../data/policy/policies.ts'
import type { UserKey } from '../../data/sign-in/subjects.ts'
import type { RosterUser } from '../../data/users/roster.ts'
import type { Owner } from '../../data/users/two-factor.ts'
import type { UserChange, Users } from '../../data/users/users.ts'
import type { Limits } from '../../plugins/limits.ts'
import { invalidMember, Problem, revokedCredential } from '../../wire/problem.ts'
import { refTo } from '../../wire/references.ts'
import { Email, ExternalId, Nullable, Password, Role } from '../../wire/scalars.ts'
import { User, UserParams } from '../../wire/users.ts'
import { type Caller, isSelf, targetUser } from './target-user.ts'
import { createUserAnswers } from './user-answer.ts'

export interface UsersOptions {
  users: Users
  policies: Policies
  passwordHashing: PasswordHashing
  limits: Limits
  audit: Audit
  now: () => Date
}

const NewUserBody = Type.Object(
  {
    email: Email,
    password: Type.Optional(Password),
    role: Type.Optional(Role),
    externalId: Type.Optional(ExternalId)
  },
  { additionalProperties: false }
)

const UserChangeBody = Type.Object(
  {
    email: Type.Optional(Email),
    password: Type.Optional(Password),
    currentPassword: Type.Optional(Password),
    role: Type.Optional(Role),
    disabled: Type.Optional(Type.Boolean()),
    externalId: Type.Optional(Nullable(ExternalId))
  },
  { additionalProperties: false, minProperties: 1 }
)
type UserChangeBody = Static<typeof UserChangeBody>

const usersRoutes: FastifyPluginAsyncTypebox<UsersOptions> = async (
  app,
  { users, policies, passwordHashing, limits, audit, now }
) => {
  const asAnswer = createUserAnswers({ policies, now })

  app.post(
    '/v1/users',
    {
      config: {
        limit: 'address',
        act: 'user.create',
        credentials: { apiKey: ['users:write'] },
        problems: ['email-taken', 'weak-password']
      },
      schema: {
        operationId: 'createUser',
        summary: 'Create a user',
        description: 'Leave the password out where your own back end checks it.',
        tags: ['Users'],
        body: NewUserBody,
        response: { 201: refTo(User) }
      }
    },
    async (request, reply) => {
      const { password, role = 'member', externalId = null } = request.body
      const accountId = request.credentialOf('apiKey').accountId
      const email = request.body.email.toLowerCase()
      const passwordHash = password === undefined ? null : await newPasswordHash(password, email)
      const id = generateId()
      const created = await users.create(
        { accountId, id, email, role, passwordHash, externalId, createdAt: now() },
        audit.succeeded(request, { target: { kind: 'user', id }, details: { role } })
      )
      if (!created) throw new Problem('email-taken')
      return reply.code(201).send(await asAnswer(created))
    }
  )

  app.patch(
    '/v1/users/:userId',
    {
      config: {
        limit: 'address',
        act: 'user.change',
        credentials: {
          apiKey: ['users:write'],
          accessToken: { holder: 'self-or-admin', fresh: 'second-factor' }
        },
        problems: [
          'user-not-found',
          'limited-access',
          'email-taken',
          'last-admin',
          'password-rejected',
          'weak-password',
          'too-many-attempts'
        ]
      },
      schema: {
        operationId: 'changeUser',
        summary: 'Change a user',
        description:
          'A person changes their own `password`, with `currentPassword`. An admin changes the `role` and `disabled` of others. An API key changes everything, without `currentPassword`. A new password and disabling kill the tokens issued before.',
        tags: ['Users'],
        params: UserParams,
        body: UserChangeBody,
        response: { 200: refTo(User) }
      }
    },
    async (request) => {
      const credential = request.credentialOf('apiKey', 'accessToken')
      const key = targetUser(credential, request.params.userId)
      requireFieldsAllowed(credential, key.userId, request.body)
      const user = await users.find(key)
      if (!user) throw new Problem('user-not-found')
      if (credential.kind === 'accessToken' && request.body.password !== undefined) {
        await requireCurrentPassword(request, user, request.body.currentPassword)
      }
      const change = await changeOf(request.body, user)
      const event = audit.succeeded(request, { details: changeOnRecord(request.body) })
      const outcome = await users.change(ownerOf(credential, key), change, event)
      if (outcome.changed) return asAnswer(outcome.user)
      if (outcome.reason === 'dead-credential') throw revokedCredential()
      throw new Problem(outcome.reason === 'not-found' ? 'user-not-found' : outcome.reason)
    }
  )

  app.delete(
    '/v1/users/:userId',
    {
      config: {
        limit: 'address',
        act: 'user.delete',
        credentials: {
          apiKey: ['users:write'],
          accessToken: { holder: 'admin', fresh: 'second-factor' }
        },
        problems: ['user-not-found', 'limited-access', 'last-admin']
      },
      schema: {
        operationId: 'deleteUser',
        summary: 'Delete a user and all that is theirs',
        description: 'An admin deletes others, not themself.',
        tags: ['Users'],
        params: UserParams,
        response: { 204: Type.Null() }
      }
    },
    async (request, reply) => {
      const credential = request.credentialOf('apiKey', 'accessToken')
      const key = targetUser(credential, request.params.userId)
      if (isSelf(credential, key.userId)) throw new Problem('limited-access')
      const outcome = await users.remove(key, audit.succeeded(request))
      if (outcome === 'not-found') throw new Problem('user-not-found')
      if (outcome === 'last-admin') throw new Problem('last-admin')
      return reply.code(204).send(null)
    }
  )

  async function newPasswordHash(password: string, email: string): Promise<string> {
    const verdict = judgePassword(password, { email })
    if (!verdict.acceptable) {
      throw new Problem('weak-password', { detail: `The password ${verdict.reason}.` })
    }
    return passwordHashing.hash(password)
  }

  // Whoever holds a stolen token may not find out the password with it: the same delays as at sign-in.
  async function requireCurrentPassword(
    request: FastifyRequest,
    { accountId, id, email }: RosterUser,
    password: string | undefined
  ): Promise<void> {
    if (password === undefined) throw invalidMember('/currentPassword', 'is required')
    const tried = { account: accountId, email }
    await limits.requirePasswordPause(request, tried)
    const phc = await users.findPasswordHash({ accountId, userId: id })
    const isRight = await passwordHashing.verify(password, phc)
    await limits.requirePasswordPause(request, tried)
    if (isRight) return
    await limits.countFailedPassword(request, tried)
    throw new Problem('password-rejected')
  }

  async function changeOf(body: UserChangeBody, user: RosterUser): Promise<UserChange> {
    const { password, role, disabled, externalId } = body
    const email = body.email?.toLowerCase()
    return {
      ...(email === undefined ? {} : { email }),
      ...(role === undefined ? {} : { role }),
      ...(externalId === undefined ? {} : { externalId }),
      ...(disabled === undefined ? {} : { disabledAt: disabled ? now() : null }),
      ...(password === undefined
        ? {}
        : { passwordHash: await newPasswordHash(password, email ?? user.email) })
    }
  }
}

export default usersRoutes

/** What was changed: the role and the state with what they are now, of the rest that it was. */
function changeOnRecord({ role, disabled, ...body }: UserChangeBody): AuditDetails {
  const { currentPassword: _proof, ...others } = body
  return {
    ...(role === undefined ? {} : { role }),
    ...(disabled === undefined ? {} : { disabled }),
    ...(Object.keys(others).length === 0 ? {} : { others: Object.keys(others) })
  }
}

/** With the epoch of who acts for themself: hashing takes its time, and meanwhile others may have taken the token away. */
function ownerOf(credential: Caller, key: UserKey): UserKey & Partial<Owner> {
  if (credential.kind === 'apiKey' || !isSelf(credential, key.userId)) return key
  return { ...key, epoch: credential.subject.epoch }
}

/** Which members each caller may name; `fresh` and the role were checked before the body was read. */
function requireFieldsAllowed(credential: Caller, userId: string, body: UserChangeBody): void {
  const allowed: (keyof UserChangeBody)[] =
    credential.kind === 'apiKey'
      ? ['email', 'password', 'role', 'disabled', 'externalId']
      : isSelf(credential, userId)
        ? ['password', 'currentPassword']
        : ['role', 'disabled']
  const named = Object.keys(body) as (keyof UserChangeBody)[]
  const refused = named.find((field) => !allowed.includes(field))
  if (refused === undefined) return
  if (credential.kind === 'accessToken') throw new Problem('limited-access')
  throw invalidMember(`/${refused}`, 'is for people who change their own password')
}
