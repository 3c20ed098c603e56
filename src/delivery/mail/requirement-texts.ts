// The texts of mails about what an account, an admin or the user has decided for one user.
import { inWords, NOT_YOU, type TextsOf } from './layout.ts'

const REQUIRED_BY = {
  self: 'You now require two-step sign-in of yourself: you sign in with your password, then with a code.',
  admin: 'An admin of your account requires you to use two-step sign-in. You cannot turn it off.',
  api_key:
    'The system of your account requires you to use two-step sign-in. You cannot turn it off.'
} as const
const WITHDRAWN_BY = {
  self: 'You have withdrawn your own requirement to use two-step sign-in.',
  admin: 'An admin of your account no longer requires you to use two-step sign-in.',
  api_key: 'The system of your account no longer requires you to use two-step sign-in.'
} as const
const NOT_EXPECTED = {
  self: NOT_YOU,
  admin: "If you didn't expect this",
  api_key: "If you didn't expect this"
} as const

export const REQUIREMENT_TEXTS: TextsOf<
  | 'two_factor_required'
  | 'two_factor_required_of_user'
  | 'two_factor_requirement_withdrawn'
  | 'signed_out'
> = {
  two_factor_required: ({ from }) => ({
    subject: 'Your account requires two-step sign-in',
    happened: [
      'Your account requires two-step sign-in: you sign in with your password, then with a code from an authenticator ' +
        'app.',
      'To set it up, install an authenticator app on your phone, such as Google Authenticator. The next time you sign ' +
        'in with your password, you see a QR code. Scan it with the app, and enter the six digits that the app shows. ' +
        'You then receive recovery codes. Keep them in a safe place, apart from the phone.'
    ],
    facts: [['Required from', from === null ? 'now on' : inWords(new Date(from))]],
    unexpected: {
      heading: "If you didn't expect this",
      advice:
        'Ask an admin of your account, in person or by phone. Do not give your password or a code to anyone. Enter ' +
        'them only on the page where you always sign in.'
    }
  }),

  two_factor_required_of_user: ({ by }) => ({
    subject: 'Two-step sign-in is required for you',
    happened: [
      REQUIRED_BY[by],
      'If you have no authenticator app yet, you set one up the next time you sign in with your password.'
    ],
    facts: [],
    unexpected: {
      heading: NOT_EXPECTED[by],
      advice:
        by === 'self'
          ? 'Someone was signed in as you. Change your password immediately, and tell an admin of your account.'
          : 'Ask an admin of your account, in person or by phone. Do not give your password or a code to anyone.'
    }
  }),

  two_factor_requirement_withdrawn: ({ by }) => ({
    subject: 'Two-step sign-in: a requirement was withdrawn',
    happened: [
      WITHDRAWN_BY[by],
      'Your sign-in does not change while you have an authenticator app, or while your account requires two-step sign-in.'
    ],
    facts: [],
    unexpected: {
      heading: NOT_EXPECTED[by],
      advice:
        by === 'self'
          ? 'Someone was signed in as you. Change your password immediately, and tell an admin of your account.'
          : 'Keep your authenticator app, and ask an admin of your account, in person or by phone.'
    }
  }),

  signed_out: ({ devicesForgotten }) => ({
    subject: 'You were signed out everywhere',
    happened: [
      'An admin of your account has signed you out everywhere. Sign in again to continue.',
      ...(devicesForgotten
        ? [
            'Your trusted devices are no longer trusted. The next sign-in on each of them asks for a code.'
          ]
        : [])
    ],
    facts: [],
    unexpected: {
      heading: "If you didn't expect this",
      advice:
        'Ask an admin of your account for the reason, in person or by phone. If someone else may know your password, ' +
        'change it.'
    }
  })
}
