// The users of an account. The account's back end creates them; it, the admins and the users themselves change them.

import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import type { Audit } from '../../audit/audit.ts'
import { storedAddress } from '../../core/input/email-addresses.ts'
import { generateId } from '../../crypto/ids.ts'
import type { PasswordHashing } from '../../crypto/password-hashing.ts'
import type { Policies } from '../../data/policy/policies.ts'
import type { Subject } from '../../data/sign-in/subjects.ts'
import type { RosterUser } from '../../data/users/roster.ts'
import type { UserChange, Users } from '../../data/users/users.ts'
import type { Limits } from '../../plugins/limits.ts'
import { invalidMember, Problem, revokedCredential } from '../../wire/problem.ts'
import { refTo } from '../../wire/references.ts'
import { IdempotencyKey } from '../../wire/repeated-requests.ts'
import { Email, ExternalId, Password, Role } from '../../wire/scalars.ts'
import { User, UserParams } from '../../wire/users.ts'
import { actorOf, refusedAct } from '../actors.ts'
import type { ReplyOf, RequestOf, RouteDefinition } from '../definitions.ts'
import { amongOf, requireScopes } from '../scopes.ts'
import { type NewPasswords, ownerOf } from './new-passwords.ts'
import { isSelf, targetUser } from './target-user.ts'
import { createUserAnswers, userAnswer } from './user-answer.ts'
import { changeDetails, rangeOf, requireFieldsAllowed, UserChangeBody } from './user-changes.ts'

interface UsersOptions {
  users: Users
  policies: Policies
  newPasswords: NewPasswords
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
  { title: 'NewUser', additionalProperties: false }
)

const CREATE_USER = {
  config: {
    limit: 'address',
    act: 'user.create',
    credentials: { apiKey: ['users:write'] },
    repeatable: true,
    problems: ['email-taken', 'weak-password']
  },
  schema: {
    operationId: 'createUser',
    summary: 'Create a user',
    description:
      'Creates a user in the account of the API key. Omit the password if your own back end checks it. To create an admin, the API key needs the scope `admins:write` too, and the other admins are notified by e-mail.',
    tags: ['Users'],
    headers: IdempotencyKey,
    body: NewUserBody,
    response: { 201: refTo(User) }
  }
} as const satisfies RouteDefinition

const CHANGE_USER = {
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
      'Users change their own `password` with `currentPassword`, admins change `role` and `disabled` of other users, and an API key changes every field without `currentPassword`. To make an admin, or to change `role`, `password`, `email` or `disabled` of an admin, the API key needs the scope `admins:write` too. A new password or disabling the user revokes all earlier tokens and trusted devices of the user. The user is notified of a new password, e-mail address, role or state by e-mail, and the admins are notified of a new or former admin.',
    tags: ['Users'],
    params: UserParams,
    body: UserChangeBody,
    response: { 200: refTo(User) }
  }
} as const satisfies RouteDefinition

const DELETE_USER = {
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
    summary: 'Delete a user',
    description:
      'Deletes a user with all authenticators, recovery codes and trusted devices. Admins cannot delete themselves. To delete an admin, an API key needs the scope `admins:write` too.',
    tags: ['Users'],
    params: UserParams,
    response: { 204: Type.Null() }
  }
} as const satisfies RouteDefinition

const userRoutes: FastifyPluginAsyncTypebox<UsersOptions> = async (
  app,
  { users, policies, newPasswords, passwordHashing, limits, audit, now }
) => {
  const asAnswer = createUserAnswers({ policies, now })

  app.post('/v1/users', CREATE_USER, createUser)
  app.patch('/v1/users/:userId', CHANGE_USER, changeUser)
  app.delete('/v1/users/:userId', DELETE_USER, deleteUser)

  async function createUser(
    request: RequestOf<typeof CREATE_USER>,
    reply: ReplyOf<typeof CREATE_USER>
  ) {
    const { password, role = 'member', externalId = null } = request.body
    const credential = request.credentialOf('apiKey')
    const { accountId } = credential
    if (role === 'admin') requireScopes(credential, ['admins:write'])
    const email = storedAddress(request.body.email)
    const owner = { accountId, email, requirement: null, role, hasAuthenticator: false }
    const passwordHash = password === undefined ? null : await newPasswords.hash(password, owner)
    const id = generateId()
    const createdAt = now()
    const demands = await policies.find(accountId)
    const bodyOf = (user: RosterUser) => userAnswer(user, demands, createdAt)
    const created = await users.create(
      { accountId, id, email, role, passwordHash, externalId, createdAt },
      audit.succeeded(request, { target: { kind: 'user', id }, details: { role } }),
      request.responseKeeper(bodyOf)
    )
    if (!created) throw new Problem('email-taken')
    return reply.code(201).send(bodyOf(created))
  }

  async function changeUser(request: RequestOf<typeof CHANGE_USER>) {
    const credential = request.credentialOf('apiKey', 'accessToken')
    const key = targetUser(credential, request.params.userId)
    requireFieldsAllowed(credential, key.userId, request.body)
    const user = await users.find(key)
    if (!user) throw new Problem('user-not-found')
    const among = rangeOf(credential, request.body)
    if (among === 'members' && user.role === 'admin') throw new Problem('insufficient-scope')
    if (credential.kind === 'accessToken' && request.body.password !== undefined) {
      await requireCurrentPassword(request, credential.subject, request.body.currentPassword)
    }
    const change = await changeOf(request.body, user)
    const event = audit.succeeded(request, { details: changeDetails(request.body) })
    const changer = { among, actor: actorOf(credential) }
    const outcome = await users.change(key, change, event, changer)
    if (!outcome.changed) throw refusedAct(outcome.reason)
    return asAnswer(outcome.user)
  }

  async function deleteUser(
    request: RequestOf<typeof DELETE_USER>,
    reply: ReplyOf<typeof DELETE_USER>
  ) {
    const credential = request.credentialOf('apiKey', 'accessToken')
    const key = targetUser(credential, request.params.userId)
    if (isSelf(credential, key.userId)) throw new Problem('limited-access')
    const changer = { among: amongOf(credential), actor: actorOf(credential) }
    const outcome = await users.remove(key, audit.succeeded(request), changer)
    if (outcome !== 'removed') throw refusedAct(outcome)
    return reply.code(204).send(null)
  }

  // The same delays as at sign-in, so that a stolen access token does not allow guessing the password.
  async function requireCurrentPassword(
    request: FastifyRequest,
    { accountId, userId, email, epoch }: Subject,
    password: string | undefined
  ): Promise<void> {
    if (password === undefined) throw invalidMember('/currentPassword', 'is required')
    const found = await users.findPassword({ accountId, userId })
    if (!found) throw new Problem('user-not-found')
    // The password was changed after the token was read: not a guess, but a token that is no longer valid.
    if (found.epoch !== epoch) throw revokedCredential()
    const tried = { account: found.slug, email }
    await limits.requirePasswordPause(request, tried)
    const isRight = await passwordHashing.verify(password, found.hash, accountId)
    await limits.requirePasswordPause(request, tried)
    if (isRight) return
    await limits.countFailedPassword(request, tried)
    throw new Problem('password-rejected')
  }

  async function changeOf(body: UserChangeBody, user: RosterUser): Promise<UserChange> {
    const { password, role, disabled, externalId } = body
    const email = body.email && storedAddress(body.email)
    return {
      ...(email === undefined ? {} : { email }),
      ...(role === undefined ? {} : { role }),
      ...(externalId === undefined ? {} : { externalId }),
      ...(disabled === undefined ? {} : { disabledAt: disabled ? now() : null }),
      ...(password === undefined
        ? {}
        : {
            passwordHash: await newPasswords.hash(password, {
              ...ownerOf(user),
              ...(email !== undefined && { email })
            })
          })
    }
  }
}

export default userRoutes
