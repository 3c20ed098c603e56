import type { Database } from '../../src/data/engine/database.ts'

/** Returns every row of every table as text: everything that a stolen database reveals. */
export async function dumpOf({ prisma }: Database): Promise<string> {
  const tables = await prisma.$queryRaw<{ name: string }[]>`
    SELECT table_name::text AS name FROM information_schema.tables WHERE table_schema = 'public'`
  const rows = tables.map(({ name }) =>
    prisma.$queryRawUnsafe<{ text: string }[]>(`SELECT x::text AS text FROM "${name}" x`)
  )
  return JSON.stringify(await Promise.all(rows))
}
