// What the story needs of a phone with an authenticator app, be it in a hand or made up.
export interface SetUp {
  setupKey: string
  otpauthUri: string
}

export interface Phone {
  /** Takes the key in. */
  scan(setUp: SetUp): Promise<void>
  /** A code that has not been used yet, as far as the phone knows. */
  readCode(): Promise<string>
  putAway(): void
}
