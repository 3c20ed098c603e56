// The texts of mails to every admin of an account, about acts that concern the whole account.
import { byOf, inWords, quoted, type TextsOf } from './layout.ts'

type AdminKind =
  | 'admin_added'
  | 'admin_removed'
  | 'api_key_created'
  | 'api_keys_revoked'
  | 'policy_changed'
  | 'mandate_set'
  | 'account_changed'

const BECAUSE = 'You receive this mail because you are an admin.'
const UNEXPECTED = "If you didn't expect this"
const LOST = {
  demoted: 'the role was taken away',
  disabled: 'disabled',
  deleted: 'deleted'
} as const

export const ADMIN_TEXTS: TextsOf<AdminKind> = {
  admin_added: ({ user, ...actor }) => ({
    subject: 'Your account has a new admin',
    happened: [`Another user is now an admin of your account. ${BECAUSE}`],
    facts: [['New admin', quoted(user)], byOf(actor)],
    unexpected: {
      heading: UNEXPECTED,
      advice:
        'Make this user a member again immediately, and ask the other admins. An admin can read and change everything in ' +
        'your account.'
    }
  }),

  admin_removed: ({ user, how, ...actor }) => ({
    subject: 'Your account has lost an admin',
    happened: [`A user is no longer an admin of your account. ${BECAUSE}`],
    facts: [['Former admin', quoted(user)], ['How', LOST[how]], byOf(actor)],
    unexpected: {
      heading: UNEXPECTED,
      advice:
        'Ask the other admins. Someone may want to keep them from seeing a change of your account.'
    }
  }),

  api_key_created: ({ name, scopes, ...actor }) => ({
    subject: 'Your account has a new API key',
    happened: [
      `A new API key was made. A system with this key can act in your account. ${BECAUSE}`
    ],
    facts: [['Name', quoted(name)], ['It can', scopes.join(', ')], byOf(actor)],
    unexpected: {
      heading: UNEXPECTED,
      advice: 'Have the key deleted immediately, together with the key that made it.'
    }
  }),

  api_keys_revoked: ({ names, ...actor }) => ({
    subject: 'API keys of your account were deleted',
    happened: [
      `These API keys no longer work. Systems that use them can't act in your account. ${BECAUSE}`
    ],
    facts: [['Names', names.map(quoted).join(', ')], byOf(actor)],
    unexpected: {
      heading: UNEXPECTED,
      advice: 'Ask the people who run the systems of your account. Users may be unable to sign in.'
    }
  }),

  policy_changed: ({ changes, ...actor }) => ({
    subject: 'The rules for signing in were changed',
    happened: [`The rules for signing in to your account were changed. ${BECAUSE}`],
    facts: [
      ...changes.map(({ field, from, to }) => [field, `${to} (previously ${from})`] as const),
      byOf(actor)
    ],
    unexpected: {
      heading: UNEXPECTED,
      advice:
        'Change the rules back, and ask the other admins. Someone may want to make it easier to sign in as another user.'
    }
  }),

  mandate_set: ({ from, reason, ...actor }) => ({
    subject: 'Two-step sign-in: a rule of the operator',
    happened: [
      from === null
        ? `The operator of the sign-in service no longer requires two-step sign-in of your account. ${BECAUSE}`
        : `The operator of the sign-in service requires two-step sign-in of your account. ${BECAUSE}`
    ],
    facts: [
      ...(from === null ? [] : [['Required from', inWords(new Date(from))] as const]),
      ...(reason === null ? [] : [['Reason', quoted(reason)] as const]),
      byOf(actor)
    ],
    unexpected: { heading: UNEXPECTED, advice: 'Ask the support of the sign-in service.' }
  }),

  account_changed: ({ fields, ...actor }) => ({
    subject: 'The details of your account were changed',
    happened: [
      `The operator of the sign-in service has changed details of your account. ${BECAUSE}`,
      'The name and the issuer name appear in authenticator apps, and the support contact in mails. Your systems check the audience.'
    ],
    facts: [['Changed', fields.join(', ')], byOf(actor)],
    unexpected: { heading: UNEXPECTED, advice: 'Ask the support of the sign-in service.' }
  })
}
