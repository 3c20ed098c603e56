// The contact that helps a user who cannot go on alone.

/** Where users get help. */
export interface Support {
  url: string | null
  email: string | null
}

/**
 * Returns the contact for the users of an account: its own, or else that of the deployment. The two are never mixed, because
 * they are different people. Returns null if there is none.
 */
export function supportFor(own: Support, ofDeployment: Support | null): Support | null {
  return own.url === null && own.email === null ? ofDeployment : own
}
