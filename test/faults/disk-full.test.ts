// The disk of the embedded database is full: requests get 503, no act is half done, and the service recovers by itself
// when there is room again.
import { spawnSync } from 'node:child_process'
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { ON_EMBEDDED, verbsOver } from '../support/app.ts'
import { createTestDatabase } from '../support/database.ts'
import { tally, verdictOf } from '../support/guesses.ts'
import { isProblem } from '../support/problems.ts'
import { startServer } from '../support/server.ts'

const MEGABYTE = 1024 * 1024
const DISK_MEGABYTES = 64
const USERS = 20

const disk = await mkdtemp(join(tmpdir(), 'twostep-disk-'))
const mounting = ['-t', 'tmpfs', '-o', `size=${DISK_MEGABYTES}m`, 'tmpfs', disk]
const isMounted = !ON_EMBEDDED.skip && spawnSync('mount', mounting).status === 0
t.teardown(async () => {
  if (isMounted) spawnSync('umount', ['-l', disk])
  await rm(disk, { recursive: true, force: true })
})
const OPTIONS = {
  skip: ON_EMBEDDED.skip || (isMounted ? false : 'needs the right to mount a small disk')
}

t.test('503: requests are rejected only while the disk is full', OPTIONS, async (t) => {
  const folder = (await createTestDatabase(t)).slice('pglite:'.length)
  await cp(folder, disk, { recursive: true })
  const server = await startServer(t, { DATABASE_URL: `pglite:${disk}`, LOG_LEVEL: 'fatal' })
  const { call, homeAccount } = verbsOver(server.url)
  const { apiKey: as } = await homeAccount()
  const createUser = (name: string) =>
    call('POST', '/v1/users', { as, body: { email: `${name}@example.com` } })
  const createUsers = async () => {
    const answers = []
    for (let made = 0; made < USERS; made += 1) answers.push(await createUser(`user${made}`))
    return answers
  }

  // The write fails when the disk is full.
  const filler = join(disk, 'filler')
  await writeFile(filler, Buffer.alloc(DISK_MEGABYTES * MEGABYTE)).catch(() => {})
  const full = await createUsers()
  for (const answer of full) {
    if (answer.statusCode !== 201) isProblem(t, answer, 503, 'unavailable')
  }
  const { '503 unavailable': refused = 0 } = tally(full)
  t.ok(refused > 0, `${refused} of ${USERS} requests were rejected`)
  t.equal(verdictOf(await call('GET', '/health/live')), '200')
  t.equal(verdictOf(await call('GET', '/v1/users', { as })), '200', 'existing users can be read')

  await rm(filler)
  const again = await createUsers()
  const acknowledged = USERS - refused
  t.same(
    tally(again),
    { 201: refused, ...(acknowledged > 0 && { '409 email-taken': acknowledged }) },
    'the acknowledged users exist, and no others'
  )
  t.equal(await server.stop(), 0)
})
