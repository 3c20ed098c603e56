// Inserts users as rows. Over the API, so many users would take seconds, and some states need minutes of the clock.
import { v7 as uuidv7 } from 'uuid'
import type { Database } from '../../src/data/engine/database.ts'
import type { TestAccount } from './app.ts'

/** Inserts `count` users and returns their ids, oldest first. */
export function insertUsers(
  database: Database,
  account: TestAccount,
  count: number
): Promise<string[]> {
  return insertLocked(
    database,
    account,
    Array.from({ length: count }, () => ({ codeLockedUntil: null, codeDisabledAt: null }))
  )
}

async function insertLocked(
  { prisma }: Database,
  { id: accountId }: TestAccount,
  locks: { codeLockedUntil: Date | null; codeDisabledAt: Date | null }[]
): Promise<string[]> {
  const data = locks.map(({ codeLockedUntil, codeDisabledAt }, number) => {
    const id = uuidv7()
    return {
      ...{ accountId, id, email: `user-${id}@example.com`, externalId: `crm-${number}` },
      ...{ createdAt: new Date(), codeLockedUntil, codeDisabledAt }
    }
  })
  // Youngest first, so that the physical order of the rows differs from the order of the roster.
  await prisma.user.createMany({ data: data.toReversed() })
  return data.map(({ id }) => id)
}

/** Inserts a user for every combination of the facts that two-factor state depends on. Returns each expected state. */
export async function insertEveryState(database: Database, account: TestAccount, now: Date) {
  const { prisma } = database
  const states = everyState(now)
  const ids = await insertLocked(database, account, states)
  const users = states.map((state, index) => ({ ...state, id: ids[index] ?? '' }))
  const accountId = account.id
  const made = { name: 'Phone', sealedSecret: '', createdAt: now }
  await prisma.authenticator.createMany({
    data: users.flatMap(({ id: userId, authenticators }) =>
      Array.from({ length: authenticators }, (_, number) => ({
        ...{ ...made, accountId, userId, id: uuidv7(), name: `Phone ${number}` },
        ...{ confirmedAt: new Date(now.getTime() - number * 1000), lastTimeStep: 0 }
      }))
    )
  })
  await prisma.enrollment.createMany({
    data: users.flatMap(({ id: userId, enrollment }) =>
      enrollment ? [{ ...made, ...enrollment, accountId, userId, authenticatorId: uuidv7() }] : []
    )
  })
  return users
}

function everyState(now: Date) {
  const after = (ms: number) => new Date(now.getTime() + ms)
  const enrollments = [
    { enrollment: null, isWaiting: false },
    { enrollment: { expiresAt: after(1), wrongTries: 9 }, isWaiting: true },
    { enrollment: { expiresAt: after(1), wrongTries: 10 }, isWaiting: false },
    { enrollment: { expiresAt: now, wrongTries: 0 }, isWaiting: false },
    { enrollment: { expiresAt: after(-1), wrongTries: 0 }, isWaiting: false }
  ]
  const locks = [
    { codeLockedUntil: null, lockedUntil: null },
    { codeLockedUntil: after(-1), lockedUntil: null },
    { codeLockedUntil: now, lockedUntil: null },
    { codeLockedUntil: after(1), lockedUntil: after(1).toISOString() }
  ]
  const disablings = [null, after(-1)]
  return [0, 1, 2].flatMap((authenticators) =>
    enrollments.flatMap(({ enrollment, isWaiting }) =>
      locks.flatMap(({ codeLockedUntil, lockedUntil }) =>
        disablings.map((codeDisabledAt) => ({
          ...{ authenticators, enrollment, codeLockedUntil, codeDisabledAt },
          expected: {
            state: stateOf(authenticators, isWaiting),
            since: authenticators > 0 ? after(-1000 * (authenticators - 1)).toISOString() : null,
            lockedUntil,
            codesDisabledAt: codeDisabledAt?.toISOString() ?? null
          }
        }))
      )
    )
  )
}

function stateOf(authenticators: number, isWaiting: boolean) {
  if (authenticators > 0) return 'enabled'
  return isWaiting ? 'pending' : 'disabled'
}
