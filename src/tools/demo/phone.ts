// The phone with an authenticator app that the demo needs, real or simulated.
export interface SetUp {
  setupKey: string
  otpauthUri: string
}

export interface Phone {
  /** Reads the setup key. */
  scan(setUp: SetUp): Promise<void>
  /** Returns a code that the phone has not shown before. */
  readCode(): Promise<string>
  putAway(): void
}
