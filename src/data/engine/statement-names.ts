import { createHash } from 'node:crypto'

// Prisma writes each shape of a query the same way each time. The bound is for shapes that vary
// with their input (lists), which would otherwise fill the server's memory with plans.
const NAMES_MAX = 500

/**
 * Names for prepared statements: the same text has the same name on every replica, another text
 * another one; '' (unnamed, so not kept by the server) for texts first seen after `max` others.
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
