// What the texts of all kinds of mails share.
import type { NoticeDetails, NoticeKind } from '../../core/mail/notices.ts'
import type { MailContent } from './layout.ts'

export type TextOf<Kind extends NoticeKind> = (details: NoticeDetails[Kind]) => MailContent

export const NOT_YOU = "If this wasn't you"
