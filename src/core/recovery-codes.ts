// Recovery codes: the way back in when the phone is gone. Each works once.

/** As many as other well-known services issue: enough for years, few enough to print. */
export const RECOVERY_CODES_COUNT = 10

/** Returns the one form that is hashed: case, white space and hyphens don't count, and o, i, l read as 0, 1, 1. */
export function normalizeRecoveryCode(typed: string): string {
  return typed.replace(/[\s-]/g, '').toUpperCase().replace(/O/g, '0').replace(/[IL]/g, '1')
}
