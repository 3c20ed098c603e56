// The account's people: made by its back end, seen by its admins, each also by themselves.
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import { v7 as uuidv7 } from 'uuid'
import { pageAnswer, UUID_FORM } from '../core/pages.ts'
import { judgePassword } from '../core/passwords.ts'
import { decide, isTwoFactorRequired } from '../core/policy.ts'
import type { Policies } from '../data/policies.ts'
import type { RosterUser, UserChange, Users } from '../data/users.ts'
import type { Credential } from '../plugins/credentials.ts'
import type { Limits } from '../plugins/limits.ts'
import type { PasswordHashing } from '../plugins/password-hashing.ts'
import { invalidMember, Problem } from '../problems.ts'
import {
  Email,
  ExternalId,
  NextCursor,
  Nullable,
  PageQuery,
  Password,
  pageRequestOf,
  Role,
  refTo,
  type User,
  UserParams
} from '../schemas.ts'

export interface UsersOptions {
  users: Users
  policies: Policies
  passwordHashing: PasswordHashing
  limits: Limits
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
  { users, policies, passwordHashing, limits, now }
) => {
  app.post(
    '/v1/users',
    {
      config: {
        limit: 'address',
        credentials: { apiKey: ['users:write'] },
        problems: ['email-taken', 'weak-password']
      },
      schema: {
        operationId: 'createUser',
        summary: 'Create a user',
        description: 'Leave the password out where your own back end checks it.',
        tags: ['Users'],
        body: NewUserBody,
        response: { 201: refTo<User>('User') }
      }
    },
    async (request, reply) => {
      const { password, role = 'member', externalId = null } = request.body
      const accountId = request.credentialOf('apiKey').accountId
      const email = request.body.email.toLowerCase()
      const passwordHash = password === undefined ? null : await newPasswordHash(password, email)
      const created = await users.create({
        ...{ accountId, id: uuidv7(), email, role, passwordHash, externalId },
        createdAt: now()
      })
      if (!created) throw new Problem('email-taken')
      return reply.code(201).send(await asAnswer(created))
    }
  )

  app.get(
    '/v1/users',
    {
      config: {
        limit: 'address',
        credentials: { apiKey: ['users:read'], accessToken: { holder: 'admin' } }
      },
      schema: {
        operationId: 'listUsers',
        summary: 'List the users with their two-factor state, oldest first',
        tags: ['Users'],
        querystring: PageQuery,
        response: {
          200: Type.Object({ items: Type.Array(refTo<User>('User')), nextCursor: NextCursor })
        }
      }
    },
    async (request) => {
      const accountId = request.credentialOf('apiKey', 'accessToken').accountId
      const page = await users.list(accountId, pageRequestOf(request.query, UUID_FORM))
      const policy = await policies.find(accountId)
      return pageAnswer(page, (user) => userAnswer(user, policy, now()))
    }
  )

  app.get(
    '/v1/users/:userId',
    {
      config: {
        limit: 'address',
        credentials: { apiKey: ['users:read'], accessToken: { holder: 'self-or-admin' } },
        problems: ['user-not-found']
      },
      schema: {
        operationId: 'getUser',
        summary: 'Read a user',
        tags: ['Users'],
        params: UserParams,
        response: { 200: refTo<User>('User') }
      }
    },
    async (request) => {
      const credential = request.credentialOf('apiKey', 'accessToken')
      const user = await users.find(targetUser(credential, request.params.userId))
      if (!user) throw new Problem('user-not-found')
      return asAnswer(user)
    }
  )

  app.patch(
    '/v1/users/:userId',
    {
      config: {
        limit: 'address',
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
        response: { 200: refTo<User>('User') }
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
      const outcome = await users.change(key, await changeOf(request.body, user))
      if (outcome.changed) return asAnswer(outcome.user)
      throw new Problem(outcome.reason === 'not-found' ? 'user-not-found' : outcome.reason)
    }
  )

  app.delete(
    '/v1/users/:userId',
    {
      config: {
        limit: 'address',
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
      const outcome = await users.remove(key)
      if (outcome === 'not-found') throw new Problem('user-not-found')
      if (outcome === 'last-admin') throw new Problem('last-admin')
      return reply.code(204).send(null)
    }
  )

  async function asAnswer(user: RosterUser): Promise<User> {
    return userAnswer(user, await policies.find(user.accountId), now())
  }

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
    if (await passwordHashing.isPassword(password, phc)) return
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

type Caller = Extract<Credential, { kind: 'apiKey' | 'accessToken' }>

/** The user that a path names, in the caller's own account; `me` is nobody to an API key. */
function targetUser(credential: Caller, userId: string): { accountId: string; userId: string } {
  const accountId = credential.accountId
  if (userId !== 'me') return { accountId, userId }
  if (credential.kind === 'apiKey') throw new Problem('user-not-found')
  return { accountId, userId: credential.subject.userId }
}

function isSelf(credential: Caller, userId: string): boolean {
  return credential.kind === 'accessToken' && credential.subject.userId === userId
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

function userAnswer(
  user: RosterUser,
  policy: { twoFactor: 'optional' | 'required' },
  now: Date
): User {
  const [first] = user.authenticators
  const isPending = user.enrollment !== null && user.enrollment.expiresAt > now
  const isLocked = user.codeLockedUntil !== null && user.codeLockedUntil > now
  const state = first ? 'enabled' : isPending ? 'pending' : 'disabled'
  return {
    id: user.id,
    email: user.email,
    role: user.role,
    disabled: user.disabledAt !== null,
    externalId: user.externalId,
    createdAt: user.createdAt.toISOString(),
    lastSignInAt: user.lastSignInAt?.toISOString() ?? null,
    twoFactor: {
      state,
      since: first?.confirmedAt.toISOString() ?? null,
      lockedUntil: isLocked ? (user.codeLockedUntil?.toISOString() ?? null) : null,
      authenticators: user.authenticators.length,
      recoveryCodesRemaining: user._count.recoveryCodes,
      required: isTwoFactorRequired(policy),
      exempt: false,
      reason: decide({ policy, user: { hasAuthenticator: first !== undefined } }).reason
    }
  }
}
