// The service with one identity provider, an account that uses it, and one user of both.
import type { Test } from 'tap'
import type { AuditEvent } from '../../../src/core/audit/events.ts'
import { startApp, type TestAccount, type TestUser } from '../../support/app.ts'
import type { Answer } from '../../support/calls.ts'
import {
  CLIENT_ID,
  openHttpServer,
  openIdentityProvider,
  sendJson
} from '../../support/identity-provider.ts'
import { isProblem } from '../../support/problems.ts'
import { MAIL_WAITS } from '../../support/records.ts'

/** Starts all of them. A sign-in needs the keys of the provider, which the service then keeps for ten minutes. */
export async function startSsoApp(t: Test) {
  const provider = await openIdentityProvider(t)
  /** A server that no policy names. If the service requests anything there, a token has caused it. */
  const elsewhere = await openHttpServer(t, (_request, response) =>
    sendJson(response, { keys: [] })
  )
  const service = await startApp(t, { env: MAIL_WAITS })
  const { call, changePolicy, clock, createAccount, createUser } = service
  const account = await ssoAccount('optional')
  const ada = await createUser({ account, email: 'ada@example.com' })
  // From now on, the provider is not new, so that it also links users who have an authenticator.
  clock.advance({ minutes: 24 * 60 })

  async function ssoAccount(mode: 'optional' | 'required', sso: object = {}): Promise<TestAccount> {
    const made = await createAccount()
    await changePolicy(made, { sso: { mode, issuer: provider.url, clientId: CLIENT_ID, ...sso } })
    return made
  }

  async function eventsOf(query: Record<string, string>, of = account) {
    const search = new URLSearchParams(query)
    const answer = await call('GET', `/v1/audit-events?${search}`, { as: of.apiKey })
    return answer.json().items
  }

  return {
    ...service,
    provider,
    elsewhere,
    account,
    ada,
    /** The claims of the provider about her. */
    adaClaims: { sub: 'ada-at-provider', email: 'Ada@Example.com', email_verified: true },
    ssoAccount,
    eventsOf,

    /** Returns a NumericDate at an offset from now. */
    seconds: (offset: number) => Math.floor(clock.now().getTime() / 1000) + offset,

    bySso: (idToken: string, more: object = {}): Promise<Answer> =>
      call('POST', '/v1/login/sso', { body: { account: account.slug, idToken, ...more } }),

    assert: (user: TestUser, firstFactor: 'pwd' | 'sso'): Promise<Answer> =>
      call('POST', '/v1/login/assertion', {
        as: user.account.apiKey,
        body: { userId: user.id, firstFactor }
      }),

    /** Returns how often the service has loaded the provider's keys. */
    loadsOfKeys: () => provider.asked.filter((path) => path === '/keys').length,

    /** Waits until the service would load the keys again for an unknown one. */
    untilKeysMayLoad: () => clock.advance({ seconds: 10 }),

    /**
     * The caller gets the same response for every reason. Only the audit event contains the reason, and one event stands for
     * refusals with the same reason in a minute.
     */
    async isRefused(t: Test, answer: Answer, why: string, of = account): Promise<void> {
      isProblem(t, answer, 401, 'invalid-sso-token')
      t.equal(answer.headers['www-authenticate'], 'Bearer error="invalid_token"')
      const events = await eventsOf({ type: 'sign_in.sso', limit: '20' }, of)
      const event = events.find((found: AuditEvent) => found.details?.['why'] === why)
      t.match(event, { outcome: 'refused', reason: 'invalid-sso-token' }, why)
    },

    /** Returns the ids of the users whom the roster finds as exempt. */
    async exemptOf({ apiKey: as }: TestAccount): Promise<string[]> {
      const { items } = (await call('GET', '/v1/users?twoFactor=exempt', { as })).json()
      return items.map(({ id }: { id: string }) => id)
    },

    async isShownExempt({ apiKey: as }: TestAccount, { id }: TestUser): Promise<boolean> {
      return (await call('GET', `/v1/users/${id}`, { as })).json().twoFactor.exempt
    }
  }
}

/** Returns the claims of the access token in a response. */
export function claimsOf(answer: Answer): Record<string, unknown> {
  const [, payload = ''] = String(answer.json().accessToken).split('.')
  return JSON.parse(Buffer.from(payload, 'base64url').toString())
}
