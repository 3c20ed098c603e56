import { Prisma } from '../../generated/prisma/client.ts'

/**
 * Returns whether an error means that this unique index rejected the write (Prisma P2002). `index` has the name that Prisma
 * gives: `<table>_<columns>_key` or `<table>_pkey`. A partition's own index counts as that of its table.
 */
export function isUniqueViolation(error: unknown, index: string): boolean {
  if (!(error instanceof Prisma.PrismaClientKnownRequestError) || error.code !== 'P2002')
    return false
  // One engine reports the index, the other its columns. Both quote PostgreSQL's message, which names the index.
  return inPartitions(index).test(JSON.stringify(error.meta?.['driverAdapterError'] ?? {}))
}

/**
 * PostgreSQL names the index of a partition by the partition and the columns, with `_idx` in place of Prisma's `_key`. A
 * partition's name begins with that of its table (docs/scale.md).
 */
function inPartitions(index: string): RegExp {
  const [, table, columns] = /^([^_]+)(.*?)_(?:key|pkey)$/.exec(index) ?? []
  const kind = index.endsWith('_pkey') ? 'pkey' : '(key|idx)'
  return new RegExp(`\\\\"${table}(_[^"\\\\]+)?${columns}_${kind}\\d*\\\\"`)
}
