import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { openDatabase } from '../../../src/data/engine/database.ts'
import { lockFolder } from '../../../src/data/engine/folder-lock.ts'
import { ON_EMBEDDED } from '../../support/app.ts'
import { NODE_ARGS } from '../../support/node-args.ts'

const source = (path: string) =>
  JSON.stringify(new URL(`../../../src/data/engine/${path}`, import.meta.url))

/** Runs the script in a separate process, and waits for the first line that it prints. */
async function start(t: Test, script: string) {
  const child = spawn(process.execPath, [...NODE_ARGS, '--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  t.teardown(() => kill(child))
  const lines = createInterface({ input: child.stdout })
  const heard: string[] = []
  lines.on('line', (line) => heard.push(line))
  await Promise.race([once(lines, 'line'), once(lines, 'close')])
  return { child, heard }
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
}

// Not tap's own folder: its paths are too long for a socket.
async function makeFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'twostep-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}

const claimsIn = async (folder: string) =>
  (await readdir(folder)).filter((name) => name.startsWith('lock.'))

t.test('an embedded database belongs to one process, and survives it', ON_EMBEDDED, async (t) => {
  const folder = await makeFolder(t)
  const url = `pglite:${join(folder, 'data')}`
  const writer = await start(
    t,
    `const { openDatabase } = await import(${source('database.ts')})
    const database = await openDatabase({ url: ${JSON.stringify(url)} })
    await database.prisma.$executeRaw\`CREATE TABLE written (id int PRIMARY KEY)\`
    console.log('open')
    for (let id = 1; ; id += 1) {
      await database.prisma.$executeRaw\`INSERT INTO written VALUES (\${id})\`
      console.log(id)
    }`
  )

  await t.test(
    'a second process is rejected while the first runs, even if it is busy',
    async (t) => {
      await t.rejects(openDatabase({ url }), {
        message: new RegExp(`data is in use by process ${writer.child.pid}\\b.*DATABASE_URL`)
      })
    }
  )

  await t.test(
    'after kill -9 the next start succeeds, with every acknowledged write',
    async (t) => {
      while (writer.heard.length < 50) await new Promise((resolve) => setTimeout(resolve, 20))
      await kill(writer.child)
      const acknowledged = Number(writer.heard.at(-1))
      const database = await openDatabase({ url })
      t.teardown(() => database.close())
      const [found] = await database.prisma.$queryRaw<{ last: number; rows: bigint }[]>`
      SELECT max(id) AS last, count(*) AS rows FROM written`
      t.ok(found && found.last >= acknowledged, 'no acknowledged write is lost')
      t.equal(Number(found?.rows), found?.last, 'no earlier write is lost')

      await t.rejects(openDatabase({ url }), { message: `in use by process ${process.pid}.` })
      await database.close()
      await database.close()
      t.same(await claimsIn(join(folder, 'data')), [], 'a clean close leaves no claim')
      t.equal((await stat(join(folder, 'data'))).mode & 0o777, 0o700, 'no other user may read it')
    }
  )
})

t.test(
  'a database of another version is rejected with its folder, which stays unlocked',
  ON_EMBEDDED,
  async (t) => {
    const folder = await makeFolder(t)
    await mkdir(join(folder, 'pg'))
    await writeFile(join(folder, 'pg/PG_VERSION'), '9\n')
    await t.rejects(openDatabase({ url: `pglite:${folder}` }), {
      message: `the database in ${join(folder, 'pg')} can't be opened: `
    })
    t.same(await claimsIn(folder), [])
  }
)

t.test(
  'exactly one of the processes that start at the same moment locks the folder',
  ON_EMBEDDED,
  async (t) => {
    const folder = await makeFolder(t)
    const at = Date.now() + 3000
    const contender = `
    const { lockFolder } = await import(${source('folder-lock.ts')})
    await new Promise((resolve) => setTimeout(resolve, ${at} - Date.now()))
    const answer = await lockFolder(${JSON.stringify(folder)}).then(() => 'mine', () => 'refused')
    console.log(answer)
    setInterval(() => {}, 1000)`
    const contenders = await Promise.all([1, 2, 3, 4].map(() => start(t, contender)))
    const answers = contenders.flatMap(({ heard }) => heard)
    t.same(answers.sort(), ['mine', 'refused', 'refused', 'refused'])
  }
)

t.test(
  'two claims of one process never both win, and the folder is unlocked afterwards',
  ON_EMBEDDED,
  async (t) => {
    const folder = await makeFolder(t)
    for (let round = 0; round < 6; round += 1) {
      const answers = await Promise.allSettled(Array.from({ length: 8 }, () => lockFolder(folder)))
      const winners = answers.filter((answer) => answer.status === 'fulfilled')
      t.ok(winners.length <= 1, 'never two')
      for (const { value: unlock } of winners) await unlock()
      await (await lockFolder(folder))()
    }
  }
)

t.test('without a socket, a claim is judged by its process', ON_EMBEDDED, async (t) => {
  const folder = await makeFolder(t)
  const stake = (pid: number, start: string) =>
    writeFile(join(folder, `lock.${pid}.${start}.00`), '')

  await t.test(
    'the claim of an ended process is ignored, even if its number is reused',
    async (t) => {
      const { child } = await start(t, 'console.log()')
      if (child.exitCode === null) await once(child, 'exit')
      await stake(child.pid ?? 0, '1')
      await stake(process.pid, '1')
      const unlock = await lockFolder(folder)
      t.equal((await claimsIn(folder)).length, 1)
      await unlock()
    }
  )

  await t.test(
    'the claim of a running process counts',
    { skip: process.platform !== 'linux' },
    async (t) => {
      const fields = (await readFile(`/proc/${process.ppid}/stat`, 'utf8')).split(') ')[1]
      await stake(process.ppid, fields?.split(' ')[19] ?? '')
      await t.rejects(lockFolder(folder), { message: `in use by process ${process.ppid}` })
    }
  )

  await t.test('a path too long for a socket gets a plain file', async (t) => {
    const deep = join(folder, 'a-folder-with-a-long-name'.repeat(5))
    await mkdir(deep)
    const unlock = await lockFolder(deep)
    const [claim = ''] = await claimsIn(deep)
    t.ok((await stat(join(deep, claim))).isFile())
    await t.rejects(lockFolder(deep), { message: `in use by process ${process.pid}` })
    await unlock()
    t.same(await claimsIn(deep), [])
  })
})
