// The texts of mails to a user about their own devices, role and state.
import { inWords, NOT_YOU, type TextsOf } from './layout.ts'

type MembershipKind =
  | 'device_trusted'
  | 'role_changed'
  | 'user_disabled'
  | 'user_enabled'
  | 'user_deleted'

const UNEXPECTED = "If you didn't expect this"

export const MEMBERSHIP_TEXTS: TextsOf<MembershipKind> = {
  device_trusted: ({ until }) => ({
    subject: 'You have a new trusted device',
    happened: [
      'You signed in on a device and chose to trust it. On this device, you need no code.'
    ],
    facts: [['Trusted until', inWords(new Date(until))]],
    unexpected: {
      heading: NOT_YOU,
      advice:
        'Someone can sign in as you without a code. Change your password immediately: after that, none of your devices ' +
        'is trusted. Then tell an admin of your account.'
    }
  }),

  role_changed: ({ role }) => ({
    subject: role === 'admin' ? 'You are now an admin' : 'You are no longer an admin',
    happened: [
      role === 'admin'
        ? 'You are now an admin of your account. You can manage its users and its rules for signing in.'
        : 'You are no longer an admin of your account. You can still sign in.'
    ],
    facts: [],
    unexpected: {
      heading: UNEXPECTED,
      advice: 'Ask an admin of your account, in person or by phone.'
    }
  }),

  user_disabled: () => ({
    subject: 'You can no longer sign in',
    happened: [
      'Your sign-in was switched off. You are signed out, and none of your devices is trusted.'
    ],
    facts: [],
    unexpected: {
      heading: UNEXPECTED,
      advice: 'Ask an admin of your account, in person or by phone.'
    }
  }),

  user_enabled: () => ({
    subject: 'You can sign in again',
    happened: ['Your sign-in was switched on again. You sign in as before.'],
    facts: [],
    unexpected: {
      heading: UNEXPECTED,
      advice:
        'Ask an admin of your account, in person or by phone. If you no longer use this account, someone else may want ' +
        'to sign in as you.'
    }
  }),

  user_deleted: () => ({
    subject: 'Your user was deleted',
    happened: [
      'Your user was deleted from the account, with all authenticator apps, recovery codes and trusted devices.'
    ],
    facts: [],
    unexpected: {
      heading: UNEXPECTED,
      advice: 'Ask an admin of the account, in person or by phone.'
    }
  })
}
