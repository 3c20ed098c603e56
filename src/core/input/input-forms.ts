// The forms to which input is brought before its schema judges it, where people and clients write one value in several ways.

/** RFC 5321 §4.5.3.1.3 allows 254 octets. Schemas reject longer text. */
const EMAIL_LENGTH_MAX = 254

export const INPUT_FORMS = {
  /** RFC 9562 §4: UUIDs are read without regard to case. Ids are stored and compared in lower case. `ME` is no id. */
  uuid: (text: string) => (/^[0-9a-f-]{36}$/i.test(text) ? text.toLowerCase() : text),

  /** Phones add a space after a completed address. A domain in letters of other scripts is stored as IDNA (RFC 5891) has it. */
  email(text: string) {
    const trimmed = text.trim()
    // The time to encode a domain grows with the square of its length.
    if (trimmed.length > EMAIL_LENGTH_MAX) return trimmed
    const at = trimmed.lastIndexOf('@')
    const domain = trimmed.slice(at + 1)
    // Only letters, digits, dots and hyphens, because a URL parser would read other characters in its own way.
    if (at < 0 || !/[^\0-\x7f]/.test(domain) || !/^[\p{L}\p{M}\p{N}.。-]+$/u.test(domain))
      return trimmed
    const url = `http://${domain}`
    return URL.canParse(url) ? `${trimmed.slice(0, at)}@${new URL(url).hostname}` : trimmed
  },

  /** One letter with an accent can be one character or two. Searches find both. */
  search: (text: string) => text.normalize('NFC')
} as const satisfies Record<string, (text: string) => string>

export type InputForm = keyof typeof INPUT_FORMS
