import { createHash } from 'node:crypto'

// Prisma writes each shape of a query in the same way every time. The bound is for shapes that vary with their input
// (lists). Without it they would fill the server's memory with plans.
const NAMES_MAX = 500

/**
 * Returns a function that names prepared statements. The same text has the same name on every replica, and different
 * texts have different names. A text that is first seen after `max` others gets the name '': the server does not keep
 * it.
 */
export function createStatementNames(max = NAMES_MAX): (query: { sql: string }) => string {
  const names = new Map<string, string>()
  return ({ sql }) => {
    const known = names.get(sql)
    if (known !== undefined) return known
    if (names.size >= max) return ''
    const name = createHash('sha256').update(sql).digest('base64url').slice(0, 22)
    names.set(sql, name)
    return name
  }
}
