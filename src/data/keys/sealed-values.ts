// Reads and replaces every value that is sealed at rest, for a rotation of the master key. The rotation goes page by
// page in the order of the keys, and no transaction is longer than a page. It can be stopped and restarted at any time.
import type { SealedKind, SealedValue } from '../../crypto/resealing.ts'
import { Prisma, type PrismaClient } from '../../generated/prisma/client.ts'

export interface ResealedValue extends SealedValue {
  /** The value that replaces `sealed`. */
  resealed: string
}

interface Place {
  table: string
  /** The columns whose values the secret is sealed to, in this order. They begin with the table's key. */
  context: readonly string[]
  type: 'uuid' | 'text'
  column: string
}

const PLACES: Record<SealedKind, Place> = {
  'pending enrollments': {
    table: 'Enrollment',
    context: ['accountId', 'userId', 'authenticatorId'],
    type: 'uuid',
    column: 'sealedSecret'
  },
  authenticators: {
    table: 'Authenticator',
    context: ['accountId', 'userId', 'id'],
    type: 'uuid',
    column: 'sealedSecret'
  },
  'signing keys': {
    table: 'SigningKey',
    context: ['id'],
    type: 'text',
    column: 'sealedPrivateKey'
  },
  'service keys': { table: 'ServiceKey', context: ['id'], type: 'text', column: 'sealedKey' },
  'stored responses': {
    table: 'StoredResponse',
    context: ['accountId', 'id'],
    type: 'uuid',
    column: 'sealedResponse'
  }
}

export type SealedValues = ReturnType<typeof createSealedValues>

export function createSealedValues(prisma: PrismaClient) {
  return {
    /** Yields all sealed values of a kind, in pages of `pageSize`. */
    async *pages(kind: SealedKind, pageSize: number): AsyncGenerator<SealedValue[]> {
      const { table, column, ...place } = PLACES[kind]
      const columns = namesOf(place)
      const texts = Prisma.join(place.context.map((name) => Prisma.sql`${nameOf(name)}::text`))
      let rest = Prisma.empty
      for (;;) {
        const page: SealedValue[] = await prisma.$queryRaw<SealedValue[]>`
          SELECT ARRAY[${texts}] AS context, ${nameOf(column)} AS sealed
          FROM ${nameOf(table)} ${rest} ORDER BY ${columns} LIMIT ${pageSize}`
        const last = page.at(-1)
        if (!last) return
        yield page
        rest = Prisma.sql`WHERE (${columns}) > (${valuesOf(place, last.context)})`
      }
    },

    /**
     * Replaces values by re-sealed ones, each only if the old value is still there. Returns the number of replaced
     * values. Skips rows that were changed or that another transaction has locked, so it never waits while it holds
     * locks.
     */
    replace(kind: SealedKind, values: readonly ResealedValue[]): Promise<number> {
      const { table, column, ...place } = PLACES[kind]
      const fields = place.context.map((_, index) => nameOf(`key${index}`))
      const lists = place.context.map(
        (_, index) => Prisma.sql`${values.map(({ context }) => context[index] ?? '')}::text[]`
      )
      const ofRow = Prisma.join(place.context.map((name) => Prisma.sql`t.${nameOf(name)}`))
      const asTyped = (row: Prisma.Sql) =>
        Prisma.join(fields.map((field) => Prisma.sql`${row}.${field}::${Prisma.raw(place.type)}`))
      return prisma.$executeRaw`
        WITH due AS (
          SELECT resealed.* FROM ${nameOf(table)} AS t
          JOIN unnest(${Prisma.join(lists)}, ${values.map(({ sealed }) => sealed)}::text[],
            ${values.map(({ resealed }) => resealed)}::text[])
            AS resealed (${Prisma.join(fields)}, "from", "to")
          ON (${ofRow}) = (${asTyped(Prisma.sql`resealed`)}) AND t.${nameOf(column)} = resealed."from"
          FOR NO KEY UPDATE OF t SKIP LOCKED
        )
        UPDATE ${nameOf(table)} AS t SET ${nameOf(column)} = due."to"
        FROM due WHERE (${ofRow}) = (${asTyped(Prisma.sql`due`)})`
    }
  }
}

type KeyOf = Pick<Place, 'context' | 'type'>

// All names come from the table above, never from input.
function nameOf(name: string): Prisma.Sql {
  return Prisma.raw(`"${name}"`)
}

function namesOf({ context }: KeyOf): Prisma.Sql {
  return Prisma.join(context.map(nameOf))
}

function valuesOf({ type }: KeyOf, values: readonly string[]): Prisma.Sql {
  return Prisma.join(values.map((value) => Prisma.sql`${value}::${Prisma.raw(type)}`))
}
