// The forms to which input is brought before its schema judges it, where people and clients write one value in several ways.
import { EMAIL_LENGTH_MAX } from './email-addresses.ts'

export const INPUT_FORMS = {
  /** RFC 9562 §4: UUIDs are read without regard to case. Ids are stored and compared in lower case. `ME` is no id. */
  uuid: (text: string) => (/^[0-9a-f-]{36}$/i.test(text) ? text.toLowerCase() : text),

  /**
   * Phones add a space after a completed address. A domain in letters of other scripts is stored as IDNA (RFC 5891) has it,
   * and a local part in NFC (RFC 6532 §3.1).
   */
  email(text: string) {
    const trimmed = text.trim()
    // Schemas reject longer text. The time to encode a domain grows with the square of its length.
    if (trimmed.length > EMAIL_LENGTH_MAX) return trimmed
    const at = trimmed.lastIndexOf('@')
    if (at < 0) return trimmed
    const written = trimmed.slice(0, at)
    // NFC makes ASCII of these three characters. The schema rejects them as they are.
    const localPart = /[\u037e\u1fef\u212a]/.test(written) ? written : written.normalize('NFC')
    const domain = trimmed.slice(at + 1)
    // Only letters, digits, dots and hyphens, because a URL parser would read other characters in its own way.
    const isOther = /[^\0-\x7f]/.test(domain) && /^[\p{L}\p{M}\p{N}.。-]+$/u.test(domain)
    const url = `http://${domain}`
    return `${localPart}@${isOther && URL.canParse(url) ? new URL(url).hostname : domain}`
  },

  /** One letter with an accent can be one character or two. Searches find both. */
  search: (text: string) => text.normalize('NFC')
} as const satisfies Record<string, (text: string) => string>

export type InputForm = keyof typeof INPUT_FORMS
