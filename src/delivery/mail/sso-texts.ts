// The texts of mails about single sign-on.
import type { NoticeDetails, NoticeKind } from '../../core/mail/notices.ts'
import { byOf, type MailContent, quoted } from './layout.ts'

type SsoKind = Extract<NoticeKind, `sso_${string}`>

export const SSO_TEXTS: {
  readonly [Kind in SsoKind]: (details: NoticeDetails[Kind]) => MailContent
} = {
  sso_linked: () => ({
    subject: 'You can sign in with single sign-on',
    happened: [
      "You signed in through your account's identity provider for the first time. From now on, you can always sign in " +
        'this way, without a code.'
    ],
    facts: [],
    unexpected: {
      heading: "If this wasn't you",
      advice:
        'Another person is registered at your identity provider with your e-mail address, or knows your password ' +
        'there. Tell an admin of your account immediately, and change your password at the identity provider.'
    }
  }),

  sso_linked_by_others: ({ provider }) => ({
    subject: 'You were linked for single sign-on',
    happened: [
      "The system of your account has linked you to an identity at your account's identity provider. From now on, you " +
        'can sign in through the identity provider.'
    ],
    facts: [['Identity provider', quoted(provider)]],
    unexpected: {
      heading: "If you didn't expect this",
      advice:
        'The owner of that identity can sign in as you. Ask an admin of your account whether the identity is yours. The ' +
        'admin can remove the link.'
    }
  }),

  sso_unlinked: ({ provider }) => ({
    subject: 'A link for single sign-on was removed',
    happened: [
      "You are no longer linked to an identity at your account's identity provider, and you were signed out everywhere. " +
        'The next time you sign in through the identity provider, a new link may be made.'
    ],
    facts: [['Identity provider', quoted(provider)]],
    unexpected: {
      heading: "If you didn't expect this",
      advice: 'Ask an admin of your account why the link was removed.'
    }
  }),

  sso_changed: ({ mode, provider, client, addresses, ...actor }) => ({
    subject: 'Single sign-on of your account was changed',
    happened: [
      'The single sign-on of your account was changed. You receive this mail because you are an admin.',
      mode === 'off'
        ? 'Single sign-on is now off.'
        : 'The identity provider below now decides who can sign in as a user of your account, also as an admin.'
    ],
    facts: [
      ['Mode', quoted(mode)],
      ...(provider === null ? [] : [['Identity provider', quoted(provider)] as const]),
      ...(client === null ? [] : [['Client', quoted(client)] as const]),
      ['Addresses', quoted(addresses)],
      byOf(actor)
    ],
    unexpected: {
      heading: "If you didn't expect this",
      advice:
        'Restore the previous settings immediately, and ask the other admins: someone could sign in as any user. For 24 hours after the change, a ' +
        'user with an authenticator app is linked only with a code. Then check the admins and the API keys of your account.'
    }
  })
}
