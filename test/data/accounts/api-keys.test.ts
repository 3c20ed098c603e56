import t from 'tap'
import { createApiKeys } from '../../../src/data/accounts/api-keys.ts'
import type { PrismaClient } from '../../../src/generated/prisma/client.ts'
import { createClock } from '../../support/clock.ts'
import { openTestDatabase } from '../../support/database.ts'

t.test('the use of a key is written at most once per minute', async (t) => {
  const { prisma } = await openTestDatabase(t)
  let writes = 0
  const counting = prisma.$extends({
    query: {
      apiKey: {
        updateMany({ args, query }) {
          writes += 1
          return query(args)
        }
      }
    }
  })
  const apiKeys = createApiKeys(counting as unknown as PrismaClient)
  const clock = createClock()
  const accountId = '018f4e3c-0000-7000-8000-000000000001'
  const createdAt = clock.now()
  await prisma.account.create({
    data: { id: accountId, slug: 'acme', name: 'Acme', audience: 'x', createdAt }
  })
  const secretHash = new Uint8Array(32)
  await prisma.apiKey.create({
    data: { accountId, id: 'abc', secretHash, name: 'x', scopes: [], createdAt }
  })
  const use = async () => {
    const stored = await apiKeys.findWithHash('abc')
    if (stored) await apiKeys.noteUse(stored, clock.now())
    return (await apiKeys.findWithHash('abc'))?.lastUsedAt
  }
  const first = clock.now()
  for (let second = 0; second < 59; second += 1) {
    t.same(await use(), first)
    clock.advance({ seconds: 1 })
  }
  t.equal(writes, 1)
  clock.advance({ seconds: 2 })
  t.same(await use(), clock.now())
  t.equal(writes, 2)
})
