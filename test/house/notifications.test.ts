// Checks that docs/notifications.md decides about every act, and names every kind of mail.
import { readFile } from 'node:fs/promises'
import t from 'tap'
import { AUDIT_TYPES } from '../../src/core/audit/events.ts'
import { KINDS } from '../support/notices.ts'

const page = await readFile(new URL('../../docs/notifications.md', import.meta.url), 'utf8')
const rows = Array.from(
  page.matchAll(/^\| `([a-z_.]+)` \| (.*)\| (.*)\| (.*)\|$/gm),
  ([, act = '', toUser = '', toAdmins = '', why = '']) => ({ act, mails: toUser + toAdmins, why })
)

t.test('every act has a row, with a mail or with the reason for none', async (t) => {
  t.same(rows.map(({ act }) => act).sort(), [...AUDIT_TYPES].sort())
  const undecided = rows.filter(({ mails, why }) => mails.trim() === '' && why.trim() === '')
  t.same(undecided, [])
})

t.test('every kind of mail is named, and no other', async (t) => {
  const named = rows.flatMap(({ mails }) =>
    Array.from(mails.matchAll(/`([a-z_]+)`/g), ([, kind = '']) => kind)
  )
  t.same([...new Set(named)].sort(), [...KINDS].sort())
})
