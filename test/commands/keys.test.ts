// How an operator lists and rotates the keys of a deployment.
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { listKeys } from '../../src/commands/keys/list.ts'
import { rotateMaster } from '../../src/commands/keys/rotate-master.ts'
import { rotateSigning } from '../../src/commands/keys/rotate-signing.ts'
import { PUBLISHED_BEFORE_SIGNING_SECONDS } from '../../src/core/signing-key-schedule.ts'
import type { SealedKind, SealedValue } from '../../src/crypto/resealing.ts'
import { openDatabase } from '../../src/data/engine/database.ts'
import { createSealedValues } from '../../src/data/keys/sealed-values.ts'
import { ON_SERVER, startApp, testConfig, testEnvironment } from '../support/app.ts'
import { createTestDatabase } from '../support/database.ts'
import { runToEnd } from '../support/processes.ts'
import { MAIL_WAITS } from '../support/records.ts'

const COMMAND = fileURLToPath(new URL('../../dist/commands/keys.js', import.meta.url))
const OLD = 'old:3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs='
const NEW = 'new:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='
const ringOf = (...keys: string[]) => testConfig({ MASTER_KEYS: keys.join(',') }).masterKeys
const BEFORE = ringOf(OLD)
const DURING = ringOf(NEW, OLD)
const AFTER = ringOf(NEW)

const first = await startApp(t, { env: { ...MAIL_WAITS, MASTER_KEYS: OLD } })
const { database, clock } = first
const { prisma } = database
const values = createSealedValues(prisma)
const silent = { print: () => {} }

const ada = await first.enrolledUser()
const accessToken = await ada.accessToken()
const others = [await first.enrolledUser(), await first.enrolledUser()]
for (const user of [await first.createUser(), await first.createUser()]) {
  await first.enroll(await first.assertedToken(user))
}

await first.call('POST', '/v1/users', {
  as: ada.account.apiKey,
  headers: { 'idempotency-key': '1' },
  body: { email: 'once@example.com' }
})

async function pagesOf(kind: SealedKind): Promise<SealedValue[][]> {
  const pages: SealedValue[][] = []
  for await (const page of values.pages(kind, 10)) pages.push(page)
  return pages
}

/** Counts the rows of all tables that contain a value sealed under the master key. */
async function sealedBy(id: string): Promise<number> {
  const tables = await prisma.$queryRaw<{ name: string }[]>`
    SELECT table_name::text AS name FROM information_schema.tables WHERE table_schema = 'public'`
  const counts = tables.map(async ({ name }) => {
    const rows = await prisma.$queryRawUnsafe<{ text: string }[]>(
      `SELECT to_jsonb(x)::text AS text FROM "${name}" x`
    )
    return rows.filter(({ text }) => text.includes(`"1.${id}.`)).length
  })
  return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0)
}

t.test('list: shows the use of each master key and signing key, and no key', async (t) => {
  const { lines, failure } = await listKeys({ prisma, masterKeys: DURING })
  t.equal(failure, null)
  t.match(
    lines[0],
    /^master key {2}pending enrollments {2}authenticators {2}signing keys {2}service keys {2}stored responses {2}state$/
  )
  t.match(lines[1], /^new +0 +0 +0 +0 +0 +seals new values$/)
  t.match(lines[2], /^old +2 +3 +1 +4 +1 +needed$/)
  t.match(lines[4], /^signing key +state +created +signs from +trusted until$/)
  t.match(lines[5], /^[\w-]{43} +signing +\S+Z +\S+Z +-$/)
  const text = lines.join('\n')
  for (const key of [OLD, NEW]) t.notOk(text.includes(key.split(':')[1] ?? ''))
  t.notMatch(text, /1\.(old|new)\./)
})

t.test('values under a master key that the ring lacks are reported', ON_SERVER, async (t) => {
  const { failure } = await listKeys({ prisma, masterKeys: AFTER })
  t.match(
    failure,
    /^sealed under a master key that is missing from MASTER_KEYS: 2 pending enrollments, 3 authenticators, 1 signing keys, 4 service keys, 1 stored responses under "old"$/
  )
  const rotated = await rotateMaster({ prisma, masterKeys: AFTER }, silent)
  t.match(rotated, {
    lines: [],
    failure: /^11 values are left: .* missing from MASTER_KEYS: .*"old"$/
  })
  t.equal(await sealedBy('old'), 11, 'no value has changed')
})

t.test('a value that has changed since it was read is not overwritten', ON_SERVER, async (t) => {
  const [page = []] = await pagesOf('authenticators')
  t.equal(page.length, 3)
  const stale = page.map((value) => ({ ...value, sealed: `${value.sealed}x`, resealed: 'lost' }))
  t.equal(await values.replace('authenticators', stale), 0)
  const foreign = page.map((value) => ({ ...value, context: [...value.context].reverse() }))
  t.equal(
    await values.replace(
      'authenticators',
      foreign.map((value) => ({ ...value, resealed: 'lost' }))
    ),
    0
  )
  t.same(await pagesOf('authenticators'), [page])
})

t.test('a locked row is left to the next round', ON_SERVER, async (t) => {
  const [page = []] = await pagesOf('authenticators')
  const same = page.map((value) => ({ ...value, resealed: value.sealed }))
  await prisma.$transaction(async (transaction) => {
    await transaction.$queryRaw`SELECT id FROM "Authenticator" WHERE id = ${ada.authenticatorId}::uuid FOR UPDATE`
    t.equal(await values.replace('authenticators', same), 2)
  })
  t.equal(await values.replace('authenticators', same), 3)
})

t.test('rotate master: after a crash the next run continues with the rest', async (t) => {
  const crash = (line: string) => {
    if (line.startsWith('authenticators')) throw new Error('crashed')
  }
  const options = { prisma, masterKeys: DURING }
  await t.rejects(rotateMaster(options, { print: crash, pageSize: 2 }), { message: 'crashed' })
  t.equal(await sealedBy('new'), 4)
  t.equal(await sealedBy('old'), 7)
  const between = await startApp(t, {
    database,
    clock,
    env: { ...MAIL_WAITS, MASTER_KEYS: `${NEW},${OLD}` }
  })
  for (const user of others) {
    t.equal((await between.verify(await user.stepToken(), user.nextCode())).statusCode, 200)
  }

  const printed: string[] = []
  const rotated = await rotateMaster(options, { print: (line) => printed.push(line), pageSize: 2 })
  t.same(rotated, { lines: ['All 11 values are sealed under new.'], failure: null })
  t.same(printed, [
    '7 values are not sealed under new yet.',
    'authenticators: 1 re-sealed',
    'signing keys: 1 re-sealed',
    'service keys: 2 re-sealed',
    'service keys: 4 re-sealed',
    'stored responses: 1 re-sealed'
  ])
  t.equal(await sealedBy('old'), 0, 'no table contains one')
  const { lines } = await listKeys(options)
  t.match(
    lines[2],
    /^old +0 +0 +0 +0 +0 +may be dropped 10 minutes after the last replica has stopped using it first$/
  )
})

t.test('the service works without the previous master key', async (t) => {
  const keys = await first.call('GET', '/.well-known/jwks.json')
  const last = await startApp(t, { database, clock, env: { ...MAIL_WAITS, MASTER_KEYS: NEW } })
  t.same((await last.call('GET', '/.well-known/jwks.json')).json(), keys.json())
  t.equal((await last.call('GET', '/v1/users/me', { as: accessToken })).statusCode, 200)
  const tokenOf = () => last.assertedToken(ada)
  t.equal((await last.verify(await tokenOf(), ada.nextCode())).statusCode, 200)
  t.equal((await last.recover(await tokenOf(), ada.recoveryCodes[0] ?? '')).statusCode, 200)
})

t.test('an altered value is named, and the others are re-sealed', ON_SERVER, async (t) => {
  const where = { accountId: ada.account.id, userId: ada.id, id: ada.authenticatorId }
  const { sealedSecret } = await prisma.authenticator.findFirstOrThrow({ where })
  const altered = { sealedSecret: sealedSecret.replace('1.new.', '1.new.AAAA') }
  await prisma.authenticator.updateMany({ where, data: altered })
  const back = await rotateMaster({ prisma, masterKeys: ringOf(OLD, NEW) }, silent)
  const row = `${where.accountId} ${where.userId} ${where.id}`
  t.equal(
    back.failure,
    `1 values are left: authenticators, row ${row}: MASTER_KEYS holds another key under the id "new", ` +
      'or the value was altered or moved from another row'
  )
  await prisma.authenticator.updateMany({ where, data: { sealedSecret } })
  const again = await rotateMaster({ prisma, masterKeys: ringOf(OLD, NEW) }, silent)
  t.equal(again.failure, null)
})

t.test(
  'rotate signing: two concurrent rotations and a repeated one rotate once',
  ON_SERVER,
  async (t) => {
    const options = { prisma, masterKeys: BEFORE }
    const both = await Promise.all([rotateSigning(options), rotateSigning(options)])
    const outputs = [...both, await rotateSigning(options)].map(({ lines }) => lines.join(' '))
    t.equal(
      outputs.filter((text) => /^Key [\w-]{43} is published now and signs from /.test(text)).length,
      1
    )
    t.equal(
      outputs.filter((text) => /was already published .* Nothing has changed\./.test(text)).length,
      2
    )
    t.equal(new Set(outputs.map(keyIdIn)).size, 1)
    const rows = await prisma.signingKey.findMany({ orderBy: { signsFrom: 'asc' } })
    t.equal(rows.length, 2)
    const waits = Number(rows[1]?.signsFrom) - Number(rows[1]?.createdAt)
    t.ok(Math.abs(waits - PUBLISHED_BEFORE_SIGNING_SECONDS * 1000) < 10, `${waits} ms`)
    const { lines } = await listKeys(options)
    t.match(lines.slice(4), [/ published .* -$/, / signing .*Z$/])
  }
)

t.test('rotate signing --now: one key is left, and it signs', ON_SERVER, async (t) => {
  const { lines } = await rotateSigning({ prisma, masterKeys: BEFORE }, { isUrgent: true })
  t.match(lines[0], / signs from now on\. 2 earlier keys are deleted\.$/)
  const rows = await prisma.signingKey.findMany()
  t.same(
    rows.map(({ id }) => id),
    [keyIdIn(lines[0])]
  )
})

/** Returns the id of the first signing key that an output names. */
function keyIdIn(text = ''): string | undefined {
  return /^Key ([\w-]{43}) /.exec(text)?.[1]
}

/** Runs the built command in its own process. */
function keys(env: NodeJS.ProcessEnv, ...args: string[]) {
  return runToEnd(COMMAND, args, testEnvironment(env))
}

t.test('exit codes: 0 done, 1 a value can’t be unsealed, 2 nothing done', ON_SERVER, async (t) => {
  const DATABASE_URL = await createTestDatabase(t)
  const away = { DATABASE_URL: 'postgresql://postgres:hunter2@127.0.0.1:1/x' }
  const [unused, unreached, misspelt] = await Promise.all([
    keys({ DATABASE_URL }, 'rotate', 'signing'),
    keys(away, 'list'),
    keys(away, 'rotate', 'master', '--now')
  ])
  t.match(unused, {
    code: 2,
    err: /^keys: nothing done: no signing key: .* never started[^\n]*\n$/
  })
  t.match(unreached, {
    code: 2,
    out: '',
    err: /^keys: nothing done: [^\n]*127\.0\.0\.1:1[^\n]*\n$/
  })
  t.notMatch(unreached.err, /hunter2/)
  t.match(misspelt, { code: 2, out: '', err: /^keys: nothing done: usage: [^\n]+\n$/ })

  const started = await openDatabase({ url: DATABASE_URL })
  const { app } = await startApp(t, { database: started, env: { MASTER_KEYS: OLD } })
  await app.close()
  await started.close()
  const rotated = await keys({ DATABASE_URL, MASTER_KEYS: `${NEW},${OLD}` }, 'rotate', 'master')
  t.match(rotated, {
    code: 0,
    out: /^5 values [\s\S]*\nAll 5 values are sealed under new\.\n$/,
    err: ''
  })
  const listed = await keys({ DATABASE_URL, MASTER_KEYS: OLD }, 'list')
  t.match(listed, { code: 1, out: /\nnew .* missing from MASTER_KEYS\n/ })
  t.match(
    listed.err,
    /^keys: sealed under a master key that is missing from MASTER_KEYS: .* under "new"\n$/
  )
})
