// What each mail says. Every kind of notice has its text, and never a link: where people manage their sign-in is the
// host's business, and a mail that teaches people to follow links helps whoever phishes them.
import { isIP } from 'node:net'
import type { NoticeDetails, NoticeKind, NoticeOf } from '../../core/mail/notices.ts'
import { inWords, layOut, type MailContent, type MailText, quoted } from './layout.ts'

type TextOf<Kind extends NoticeKind> = (details: NoticeDetails[Kind]) => MailContent

const NOT_YOU = "If this wasn't you"

const RESET_LOSES =
  'Your authenticator apps, recovery codes and trusted devices no longer work. Where your account requires two-step ' +
  'sign-in, your next sign-in leads through a fresh set-up. Go through it soon.'
const RESET_NOT_ASKED_FOR = {
  heading: "If it wasn't you who asked for this",
  advice:
    'Tell an admin of your account at once, and change your password: whoever has your password could now set up an ' +
    'authenticator before you do.'
}

const TEXTS: { readonly [Kind in NoticeKind]: TextOf<Kind> } = {
  two_factor_enabled: ({ authenticator }) => ({
    subject: 'Two-step sign-in is on',
    happened: [
      'Two-step sign-in is now on for you: you sign in with your password and a code from your authenticator app.'
    ],
    facts: [['Authenticator', quoted(authenticator)]],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Somebody who knows your password has set up an authenticator of their own, and you will be asked for codes ' +
        'that you do not have. Tell an admin of your account at once, so that they reset your two-step sign-in, and ' +
        'change your password.'
    }
  }),

  two_factor_disabled: () => ({
    subject: 'Two-step sign-in is off',
    happened: ['Two-step sign-in is now off for you: your password alone lets you in.'],
    facts: [],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Somebody can sign in as you. Change your password at once, turn two-step sign-in on again, and tell an admin ' +
        'of your account.'
    }
  }),

  authenticator_added: ({ authenticator }) => ({
    subject: 'An authenticator was added',
    happened: ['One more authenticator app makes codes for your sign-in.'],
    facts: [['Authenticator', quoted(authenticator)]],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Somebody can sign in as you. Change your password at once, remove that authenticator, and tell an admin of ' +
        'your account.'
    }
  }),

  authenticator_replaced: ({ authenticator, replaced }) => ({
    subject: 'Your authenticator was replaced',
    happened: [
      'A new authenticator app makes the codes for your sign-in. Codes from the former one no longer work.'
    ],
    facts: [
      ['New authenticator', quoted(authenticator)],
      ['Former authenticator', quoted(replaced)]
    ],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Somebody can sign in as you, and your own app no longer makes your codes. Tell an admin of your account at ' +
        'once, so that they reset your two-step sign-in, and change your password.'
    }
  }),

  authenticator_removed: ({ authenticator }) => ({
    subject: 'An authenticator was removed',
    happened: ['Codes from one of your authenticator apps no longer work.'],
    facts: [['Authenticator', quoted(authenticator)]],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Somebody can sign in as you. Change your password at once, and tell an admin of your account.'
    }
  }),

  recovery_code_used: ({ remaining }) => ({
    subject: 'A recovery code was used',
    happened: [
      'One of your recovery codes was used to sign in. Each works once.',
      ...(remaining <= 3 ? ['Make new recovery codes soon, before you run out of them.'] : [])
    ],
    facts: [['Recovery codes left', String(remaining)]],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Somebody knows your password and has recovery codes of yours. Change your password at once, make new recovery ' +
        'codes, which ends the old ones, and tell an admin of your account.'
    }
  }),

  recovery_codes_regenerated: () => ({
    subject: 'You have new recovery codes',
    happened: ['New recovery codes were made for you. The former ones no longer work.'],
    facts: [],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Somebody is signed in as you, and has these recovery codes. Change your password at once, make new recovery ' +
        'codes yourself, which ends theirs, and tell an admin of your account.'
    }
  }),

  codes_disabled: ({ recoveryCodesRemaining }) => ({
    subject: 'Codes are switched off for your sign-in',
    happened: [
      'Too many wrong codes were entered in a row, so codes from your authenticator app are not taken any more.',
      'A recovery code opens your sign-in again, and so does a reset by an admin of your account.'
    ],
    facts: [['Recovery codes left', String(recoveryCodesRemaining)]],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Somebody who knows your password has entered wrong codes; those did not let them in. Change your password at ' +
        'once, and tell an admin of your account. Then sign in with a recovery code, or ask the admin for a reset.'
    }
  }),

  device_revoked_after_reuse: () => ({
    subject: 'A trusted device is trusted no more',
    happened: [
      'Somebody signed in with your password and with what one of your trusted devices keeps, but an old copy of it. So that device is trusted no more: a code was asked for, and will be there again.',
      'It may have been you, on a browser that was restored from a backup or lost its connection in the middle of a sign-in. It may also be somebody who has copied it.'
    ],
    facts: [],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Somebody knows your password and has been at one of your devices. Change your password at once, which ends the ' +
        'trust in all your devices, and tell an admin of your account.'
    }
  }),

  sso_linked: () => ({
    subject: 'You can sign in by single sign-on',
    happened: [
      "You have signed in through your account's identity provider for the first time. From now on whoever is signed in " +
        'there as you is signed in here, without a code.'
    ],
    facts: [],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Somebody else is known to the identity provider by your e-mail address. Tell an admin of your account at once, ' +
        'and change your password at the identity provider.'
    }
  }),

  two_factor_reset: ({ by }) => ({
    subject: 'Your two-step sign-in was reset',
    happened: [
      by === 'admin'
        ? 'An admin of your account has reset your two-step sign-in.'
        : 'The system of your account has reset your two-step sign-in.',
      RESET_LOSES
    ],
    facts: [],
    unexpected: RESET_NOT_ASKED_FOR
  }),

  support_reset: ({ ticket }) => ({
    subject: 'Your two-step sign-in was reset by support',
    happened: ['The support of the sign-in service has reset your two-step sign-in.', RESET_LOSES],
    facts: [['Ticket', quoted(ticket)]],
    unexpected: RESET_NOT_ASKED_FOR
  }),

  support_reset_of_user: ({ ticket, user }) => ({
    subject: "A user's two-step sign-in was reset by support",
    happened: [
      'The support of the sign-in service has reset the two-step sign-in of a user of your account. You are told because you are an admin.',
      "The user's authenticator apps, recovery codes and trusted devices no longer work."
    ],
    facts: [
      ['User', quoted(user)],
      ['Ticket', quoted(ticket)]
    ],
    unexpected: {
      heading: 'If nobody of your account asked for this',
      advice:
        'Tell support at once, with the ticket number, and have the user change their password: whoever has that ' +
        'password could now set up an authenticator before the user does.'
    }
  }),

  two_factor_required: ({ from }) => ({
    subject: 'Two-step sign-in is required',
    happened: [
      'Your account requires two-step sign-in: a password, then a code from an authenticator app.',
      'To set it up, install an authenticator app on your phone, such as Google Authenticator. When you next sign in ' +
        'with your password, you are shown a QR code: scan it with the app, and enter the six digits that the app ' +
        'shows. Then keep the recovery codes that you are given in a safe place, apart from the phone.'
    ],
    facts: [['Required from', from === null ? 'now on' : inWords(new Date(from))]],
    unexpected: {
      heading: "If you didn't expect this",
      advice:
        'Ask an admin of your account, in person or by phone. Nobody needs your password or a code of yours for this: ' +
        'you enter them where you always sign in, and nowhere else.'
    }
  }),

  password_changed: () => ({
    subject: 'Your password was changed',
    happened: ['Your password was changed. The former one no longer works.'],
    facts: [],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Somebody else has chosen your password, and may be able to sign in as you. Tell an admin of your account at ' +
        'once.'
    }
  }),

  email_changed: ({ from, to }) => ({
    subject: 'Your e-mail address was changed',
    happened: ['You now sign in with another e-mail address.'],
    facts: [
      ['Former address', quoted(from)],
      ['New address', quoted(to)]
    ],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Tell an admin of your account at once: whoever changed the address may be able to sign in as you. If you do ' +
        'not know this account, somebody has mistyped theirs, and you need do nothing.'
    }
  })
}

/** The mail that tells about a notice. Throws for a kind that only another version of the service knows. */
export function writeMail<Kind extends NoticeKind>(
  notice: Omit<NoticeOf<Kind>, 'accountId' | 'recipient'>,
  accountName: string
): MailText {
  const { kind, details, occurredAt, address } = notice
  if (!Object.hasOwn(TEXTS, kind)) throw new Error(`there is no text for mails of kind ${kind}`)
  const content = TEXTS[kind](details)
  return layOut({
    ...content,
    facts: [
      ['Account', quoted(accountName)],
      ['When', inWords(occurredAt)],
      ...(address !== null && isIP(address) ? [['IP address', address] as const] : []),
      ...content.facts
    ]
  })
}
