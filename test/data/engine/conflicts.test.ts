// A rejected write is recognised by its index, in a table and in the partitions of one.
import t from 'tap'
import { isUniqueViolation } from '../../../src/data/engine/conflicts.ts'
import { ON_SERVER } from '../../support/app.ts'
import { openTestDatabase } from '../../support/database.ts'

const ADDRESS = 'User_accountId_email_key'
const accountId = '018f4e3c-0000-7000-8000-000000000001'
const createdAt = new Date('2030-01-02T03:04:05.678Z')
const userOf = (id: number, email: string) => ({
  accountId,
  id: `018f4e3c-0000-7000-8000-00000000010${id}`,
  email,
  createdAt
})

t.test('a taken address and a taken id are distinguished', async (t) => {
  const { prisma } = await openTestDatabase(t)
  await prisma.account.create({
    data: { id: accountId, slug: 'acme', name: 'Acme', audience: 'x', createdAt }
  })
  await prisma.user.create({ data: userOf(1, 'ada@example.com') })
  const rejected = (id: number, email: string) =>
    prisma.user.create({ data: userOf(id, email) }).then(
      () => null,
      (error: unknown) => error
    )
  const address = await rejected(2, 'ada@example.com')
  t.equal(isUniqueViolation(address, ADDRESS), true)
  t.equal(isUniqueViolation(address, 'User_pkey'), false)
  const id = await rejected(1, 'bob@example.com')
  t.equal(isUniqueViolation(id, ADDRESS), false)
  t.equal(isUniqueViolation(id, 'User_pkey'), true)
  t.equal(isUniqueViolation(new Error('unique'), ADDRESS), false)
})

t.test('a partition rejects like its table', ON_SERVER, async (t) => {
  const { prisma } = await openTestDatabase(t)
  const run = (sql: string) => prisma.$executeRawUnsafe(sql)
  await run('ALTER TABLE "User" RENAME TO "User_old"')
  await run('ALTER INDEX "User_accountId_email_key" RENAME TO "User_old_key"')
  await run('ALTER INDEX "User_pkey" RENAME TO "User_old_pkey"')
  await run(
    'CREATE TABLE "User" (LIKE "User_old" INCLUDING DEFAULTS) PARTITION BY HASH ("accountId")'
  )
  await run('ALTER TABLE "User" ADD CONSTRAINT "User_pkey" PRIMARY KEY ("accountId", id)')
  await run(`CREATE UNIQUE INDEX "${ADDRESS}" ON "User" ("accountId", email)`)
  for (const remainder of [0, 1]) {
    await run(
      `CREATE TABLE "User_p${remainder}" PARTITION OF "User" FOR VALUES WITH (MODULUS 2, REMAINDER ${remainder})`
    )
  }
  await prisma.user.create({ data: userOf(1, 'ada@example.com') })
  const address = await prisma.user.create({ data: userOf(2, 'ada@example.com') }).catch((e) => e)
  t.equal(isUniqueViolation(address, ADDRESS), true)
  t.equal(isUniqueViolation(address, 'User_pkey'), false)
  const id = await prisma.user.create({ data: userOf(1, 'bob@example.com') }).catch((e) => e)
  t.equal(isUniqueViolation(id, 'User_pkey'), true)
  t.equal(isUniqueViolation(id, ADDRESS), false)
})
