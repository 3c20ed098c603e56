// The text of each kind of mail. No mail contains a link to click: only the host knows the page on which people manage their
// sign-in, and a mail that teaches people to follow links helps phishing. The contact of the support is plain text.
import { isIP } from 'node:net'
import type { NoticeKind, NoticeOf } from '../../core/mail/notices.ts'
import type { Support } from '../../core/support.ts'
import { ADMIN_TEXTS } from './admin-texts.ts'
import {
  aboutRepeats,
  inWords,
  layOut,
  type MailText,
  NOT_YOU,
  quoted,
  type TextsOf
} from './layout.ts'
import { MEMBERSHIP_TEXTS } from './membership-texts.ts'
import { REQUIREMENT_TEXTS } from './requirement-texts.ts'
import { SSO_TEXTS } from './sso-texts.ts'

const RESET_MEANS =
  'Your authenticator apps, recovery codes, trusted devices and links for single sign-on no longer work. If you used ' +
  'two-step sign-in before, or must use it, your next sign-in with your password leads you through a new set-up. Please complete it soon.'
const RESET_NOT_ASKED_FOR = {
  heading: "If you didn't ask for this",
  advice:
    'Tell an admin of your account immediately, and change your password. Someone who knows your password could now ' +
    'set up an authenticator app before you do.'
}

const TEXTS: TextsOf<NoticeKind> = {
  ...REQUIREMENT_TEXTS,
  ...MEMBERSHIP_TEXTS,
  ...ADMIN_TEXTS,

  two_factor_enabled: ({ authenticator }) => ({
    subject: 'Two-step sign-in is on',
    happened: [
      'Two-step sign-in is now on. You sign in with your password and a code from your authenticator app.'
    ],
    facts: [['Authenticator', quoted(authenticator)]],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Someone who knows your password has set up their own authenticator app. You will be asked for codes that you ' +
        'do not have. Tell an admin of your account immediately, so that they can reset your two-step sign-in. Then ' +
        'change your password.'
    }
  }),

  two_factor_disabled: () => ({
    subject: 'Two-step sign-in is off',
    happened: ['Two-step sign-in is now off. You sign in with your password only.'],
    facts: [],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Someone can sign in as you. Change your password immediately, and turn two-step sign-in on again. Then tell ' +
        'an admin of your account.'
    }
  }),

  authenticator_added: ({ authenticator }) => ({
    subject: 'An authenticator app was added',
    happened: [
      'An authenticator app was added to your sign-in. You can now also sign in with codes from this app.'
    ],
    facts: [['Authenticator', quoted(authenticator)]],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Someone can sign in as you. Change your password immediately, and remove this authenticator app. Then tell ' +
        'an admin of your account.'
    }
  }),

  authenticator_replaced: ({ authenticator, replaced }) => ({
    subject: 'Your authenticator app was replaced',
    happened: [
      'A new authenticator app replaced your previous one. From now on, you sign in with codes from the new app. Codes ' +
        'from the previous app no longer work.'
    ],
    facts: [
      ['New authenticator', quoted(authenticator)],
      ['Previous authenticator', quoted(replaced)]
    ],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Someone can sign in as you, and codes from your own app no longer work. Tell an admin of your account ' +
        'immediately, so that they can reset your two-step sign-in. Then change your password.'
    }
  }),

  authenticator_removed: ({ authenticator }) => ({
    subject: 'An authenticator app was removed',
    happened: [
      'An authenticator app was removed from your sign-in. Codes from this app no longer work.'
    ],
    facts: [['Authenticator', quoted(authenticator)]],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Someone can sign in as you. Change your password immediately. Then tell an admin of your account.'
    }
  }),

  recovery_code_used: ({ remaining, trustedUntil }) => ({
    subject: 'A recovery code was used',
    happened: [
      'One of your recovery codes was used to sign in. Each recovery code works only once.',
      ...(remaining <= 3
        ? ['Make new recovery codes soon, so that you always have some in reserve.']
        : [])
    ],
    facts: [
      ['Recovery codes left', String(remaining)],
      ...(trustedUntil ? [['Device trusted until', inWords(new Date(trustedUntil))] as const] : [])
    ],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Someone knows your password and has your recovery codes. Change your password immediately, and make new ' +
        'recovery codes, so that the old ones stop working. Then tell an admin of your account.'
    }
  }),

  recovery_codes_regenerated: () => ({
    subject: 'You have new recovery codes',
    happened: [
      'New recovery codes were made for you. Your previous recovery codes no longer work.'
    ],
    facts: [],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Someone is signed in as you and has these recovery codes. Change your password immediately, and make new ' +
        'recovery codes yourself, so that theirs stop working. Then tell an admin of your account.'
    }
  }),

  codes_disabled: ({ recoveryCodesRemaining, firstFactor = 'password' }) => ({
    subject: 'Codes are switched off for your sign-in',
    happened: [
      `Codes from your authenticator app are switched off${firstFactor === 'sso' ? ' after single sign-on' : ''}, because too many wrong codes were entered in a row.`,
      'Sign in with a recovery code to switch them on again, or ask an admin of your account to reset your two-step ' +
        'sign-in.'
    ],
    facts: [['Recovery codes left', String(recoveryCodesRemaining)]],
    unexpected: {
      heading: NOT_YOU,
      advice:
        firstFactor === 'sso'
          ? 'Someone who can sign in as you at your identity provider has entered wrong codes. The wrong codes did not ' +
            'let them in. Tell an admin of your account immediately. Then sign in with a recovery code, or ask the ' +
            'admin for a reset.'
          : 'Someone who knows your password has entered wrong codes. The wrong codes did not let them in. Change your ' +
            'password immediately, and tell an admin of your account. Then sign in with a recovery code, or ask the admin ' +
            'for a reset.'
    }
  }),

  many_second_steps: () => ({
    subject: 'Unusually many sign-in attempts',
    happened: [
      'Within a minute, there were unusually many requests for the second step of your sign-in. Further requests are ' +
        'rejected for up to a minute. After that, you can sign in as usual.'
    ],
    facts: [],
    unexpected: {
      heading: NOT_YOU,
      advice:
        "Someone knows your password, or can sign in as you at your account's identity provider. Change your password " +
        'immediately, and tell an admin of your account.'
    }
  }),

  device_revoked_after_reuse: () => ({
    subject: 'A device is no longer trusted',
    happened: [
      'One of your trusted devices is no longer trusted. Someone used your password together with an outdated copy of ' +
        'the data that identifies this device. That sign-in required a code, and so does the next one on this device.',
      'It may have been you, in a browser that was restored from a backup or lost its connection during a sign-in. It ' +
        'may also have been someone who copied the data from your device.'
    ],
    facts: [],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Someone knows your password and had access to one of your devices. Change your password immediately. After ' +
        'that, none of your devices is trusted. Then tell an admin of your account.'
    }
  }),

  ...SSO_TEXTS,

  two_factor_reset: ({ by }) => ({
    subject: 'Your two-step sign-in was reset',
    happened: [
      by === 'admin'
        ? 'An admin of your account has reset your two-step sign-in.'
        : 'The system of your account has reset your two-step sign-in.',
      RESET_MEANS
    ],
    facts: [],
    unexpected: RESET_NOT_ASKED_FOR
  }),

  support_reset: ({ ticket }) => ({
    subject: 'Support has reset your two-step sign-in',
    happened: [
      'The support team of the sign-in service has reset your two-step sign-in.',
      RESET_MEANS
    ],
    facts: [['Ticket', quoted(ticket)]],
    unexpected: RESET_NOT_ASKED_FOR
  }),

  support_reset_of_user: ({ ticket, user }) => ({
    subject: "Support has reset a user's two-step sign-in",
    happened: [
      'The support team of the sign-in service has reset the two-step sign-in of a user of your account. You receive ' +
        'this mail because you are an admin.',
      "The user's authenticator apps, recovery codes and trusted devices no longer work."
    ],
    facts: [
      ['User', quoted(user)],
      ['Ticket', quoted(ticket)]
    ],
    unexpected: {
      heading: "If your account didn't ask for this",
      advice:
        'Tell support immediately, and give the ticket number. Have the user change their password: someone who knows ' +
        'it could now set up an authenticator app before the user does.'
    }
  }),

  password_changed: () => ({
    subject: 'Your password was changed',
    happened: ['Your password was changed. The previous password no longer works.'],
    facts: [],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Someone else has changed your password, and may be able to sign in as you. Tell an admin of your account ' +
        'immediately.'
    }
  }),

  email_changed: ({ from, to }) => ({
    subject: 'Your e-mail address was changed',
    happened: ['Your e-mail address was changed. From now on, you sign in with the new address.'],
    facts: [
      ['Previous address', quoted(from)],
      ['New address', quoted(to)]
    ],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Tell an admin of your account immediately: the person who changed the address may be able to sign in as you. ' +
        'If you do not know this account, someone has mistyped their own address, and you do not need to do anything.'
    }
  })
}

/** Returns the mail about a notice. Throws for a kind that only another version of the service knows. */
export function writeMail<Kind extends NoticeKind>(
  notice: Omit<NoticeOf<Kind>, 'accountId' | 'recipient'> & {
    repeats?: number
    repeatsSince?: Date | null
  },
  account: { name: string; support: Support | null }
): MailText {
  const { kind, details, occurredAt, address, repeats = 0, repeatsSince = null } = notice
  if (!Object.hasOwn(TEXTS, kind)) throw new Error(`no text for mails of kind ${kind}`)
  const content = TEXTS[kind](details)
  return layOut({
    ...content,
    happened: [...content.happened, ...aboutRepeats(repeats, repeatsSince)],
    facts: [
      ['Account', quoted(account.name)],
      ['When', inWords(occurredAt)],
      ...(address !== null && isIP(address) ? [['IP address', address] as const] : []),
      ...content.facts,
      ...(account.support ? [['Support', contactOf(account.support)] as const] : [])
    ]
  })
}

function contactOf({ url, email }: Support): string {
  return [email, url].filter((part) => part !== null).join(' or ')
}
