// The passwords that attackers try first, and words that they derive from what they know about a user.
import { dictionary } from '@zxcvbn-ts/language-common'

/** The list does not contain these, which password generators for tests and keyboards suggest. */
const ALSO_COMMON = `12341234 123123123 87654321 987654321 0987654321 p@ssword abcdefgh admin1234`

/** A shorter word is part of many good passwords by chance. */
const WORD_LENGTH_MIN = 4

export interface PasswordContext {
  email: string
  account: { slug: string; name: string; issuerName: string | null }
  /** The public URL of the service. */
  issuer: string
}

/** Returns the form in which passwords are compared: without case and compatibility forms, such as full-width letters. */
export function foldPassword(password: string): string {
  return password.normalize('NFKC').toLowerCase()
}

/**
 * Returns a function that returns whether a password is one of the 49,000 most frequent ones in public breaches. Passwords that
 * are too short anyway are not kept in memory.
 */
export function createCommonPasswords(lengthMin: number): (password: string) => boolean {
  const listed = [...dictionary['passwords-common'], ...ALSO_COMMON.split(' ')]
  const common = new Set(listed.filter(({ length }) => length >= lengthMin))
  return (password) => common.has(foldPassword(password))
}

/**
 * Returns whether a password is only a word of its context, alone or with digits and punctuation around it (NIST SP
 * 800-63B-4 §3.1.1.2: the name of the service, the user name, and derivatives). A password that contains such a word among
 * others is accepted: the clause requires comparing the entire password.
 */
export function isContextWord(password: string, context: PasswordContext): boolean {
  return wordsOf(context).has(stemOf(password))
}

function wordsOf({ email, account, issuer }: PasswordContext): Set<string> {
  const [localPart = '', domain = ''] = foldPassword(email).split(/@(?=[^@]*$)/)
  const names = [account.slug, account.name, account.issuerName ?? '', localPart]
  const hosts = [domain, new URL(issuer).hostname]
  const words = ['twostep', email, ...names, ...hosts]
  const parts = [...names, ...hosts].flatMap((name) =>
    foldPassword(name).split(/[^\p{L}\p{M}\p{N}]+/u)
  )
  const stems = [...words, ...parts].map(stemOf)
  return new Set(stems.filter((stem) => [...stem].length >= WORD_LENGTH_MIN))
}

/** Returns the letters of a text, and the digits between them. More than eight digits, the length of a date, are part of it. */
function stemOf(text: string): string {
  const letters = foldPassword(text).replaceAll(/[^\p{L}\p{M}\p{N}]+/gu, '')
  return letters.replace(/^\p{N}{1,8}(?!\p{N})/u, '').replace(/(?<!\p{N})\p{N}{1,8}$/u, '')
}
