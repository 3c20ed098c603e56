// E-mail addresses: which text is one, and the form in which the addresses of users are stored and compared.

/** RFC 5321 §4.5.3.1.3 allows 254 octets. */
export const EMAIL_LENGTH_MAX = 254

/** RFC 5322 §3.2.3, without quoted local parts, which people do not have. */
const ATEXT = "A-Za-z0-9!#$%&'*+/=?^_`{|}~-"
/**
 * The letters, marks and digits of all scripts (RFC 6531 §3.3), except invisible ones, and except the Kelvin sign, which is
 * a second way to write an ASCII letter: with it, two people could have one stored address.
 */
const OTHER_SCRIPTS = '(?![\\0-\\x7f\\u212a]|\\p{DI})[\\p{L}\\p{M}\\p{N}]'
const ATOM = `(?:[${ATEXT}]|${OTHER_SCRIPTS})+`
const LABEL = '[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?'

// Without the flag `i`, under which `k` also matches the Kelvin sign.
const ADDRESS = new RegExp(`^${ATOM}(?:\\.${ATOM})*@(?:${LABEL}\\.)+${LABEL}$`, 'u')
const MAILBOX = new RegExp(
  `^(?:[.${ATEXT}]|${OTHER_SCRIPTS}){1,254}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?$`,
  'u'
)

/** Returns whether a text is the address of a user, in the form of the input. The domain is in ASCII. */
export function isUserAddress(text: string): boolean {
  return text.length <= EMAIL_LENGTH_MAX && ADDRESS.test(text)
}

/**
 * Returns whether a text is exactly one address to which a mail can be sent. Accepts more than addresses of users: a
 * deployment can have a host name without a dot.
 */
export function isMailAddress(text: string): boolean {
  return MAILBOX.test(text)
}

/**
 * Returns an address in the form in which it is stored and compared: in lower case and in NFC. NFC comes last, because some
 * capital letters have no single character but their small letters do.
 */
export function storedAddress(address: string): string {
  return address.toLowerCase().normalize('NFC')
}

/** Returns whether a mail server must support SMTPUTF8 (RFC 6531) to take a mail to or from an address. */
export function needsSmtpUtf8(address: string): boolean {
  return /[^\0-\x7f]/.test(address)
}
