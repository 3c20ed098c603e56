// The objects that openapi.yaml names. Every schema with an `$id` is listed here once.
import {
  Authenticated,
  EnrollmentRequired,
  SignIn,
  SignInUser,
  VerificationRequired
} from './sign-in.ts'
import { Authenticator, TrustedDevice, User } from './users.ts'

/** The schemas that the spec names. */
export const NAMED_SCHEMAS = [
  SignInUser,
  Authenticated,
  VerificationRequired,
  EnrollmentRequired,
  SignIn,
  User,
  Authenticator,
  TrustedDevice
] as const
