// The schemas with a name in openapi.yaml. Every schema with an `$id` must be listed here.
import {
  Authenticated,
  EnrollmentRequired,
  SignIn,
  SignInUser,
  VerificationRequired
} from './sign-in.ts'
import { SsoIdentity } from './sso.ts'
import { Authenticator, Requirement, TrustedDevice, User } from './users.ts'

export const NAMED_SCHEMAS = [
  SignInUser,
  Authenticated,
  VerificationRequired,
  EnrollmentRequired,
  SignIn,
  Requirement,
  User,
  Authenticator,
  TrustedDevice,
  SsoIdentity
] as const
