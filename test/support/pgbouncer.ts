// PgBouncer in front of a PostgreSQL server of the test's own, with the configuration that docs/scale.md shows.
import { spawn, spawnSync } from 'node:child_process'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Test } from 'tap'
import { withBinaries } from './binaries.ts'
import { WITH_POSTGRESQL_SERVER } from './postgresql-server.ts'
import { freePort } from './processes.ts'
import { killed } from './server.ts'

const PAGE = new URL('../../docs/scale.md', import.meta.url)

/** Options of a test that starts PgBouncer and a PostgreSQL server. */
export const WITH_PGBOUNCER = WITH_POSTGRESQL_SERVER.skip
  ? WITH_POSTGRESQL_SERVER
  : withBinaries('pgbouncer')

/** Whether the installed PgBouncer keeps prepared statements with transaction pooling (1.21 or later). */
export function keepsStatements(): boolean {
  const { stdout } = spawnSync('pgbouncer', ['--version'], { encoding: 'utf8' })
  const [, major = 0, minor = 0] = /PgBouncer (\d+)\.(\d+)/.exec(stdout) ?? []
  return Number(major) > 1 || Number(minor) >= 21
}

/** Returns the blocks of one language in the section on PgBouncer, in their order. */
export async function blocksOf(language: string): Promise<string[]> {
  const [, section = ''] = (await readFile(PAGE, 'utf8')).split(/^## PgBouncer$/m)
  const [own = ''] = section.split(/^## /m)
  return Array.from(own.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm))
    .filter(([, named]) => named === language)
    .map(([, , block = '']) => block)
}

/** Starts PgBouncer with this configuration of the page, and returns the URL of the database `twostep` behind it. */
export async function startPgbouncer(
  t: Test,
  { configuration, serverPort }: { configuration: string; serverPort: number }
): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'twostep-pgbouncer-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const port = await freePort()
  const users = join(folder, 'users.txt')
  const file = join(folder, 'pgbouncer.ini')
  await writeFile(users, '"twostep" ""\n')
  await writeFile(
    file,
    `[databases]
twostep = host=127.0.0.1 port=${serverPort} dbname=twostep

[pgbouncer]
${configuration}
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = trust
auth_file = ${users}
`
  )
  // PgBouncer refuses to run as root, and reads these files as the other user.
  await chmod(folder, 0o755)
  const asUser = process.getuid?.() === 0 ? ['-u', 'postgres'] : []
  const child = spawn('pgbouncer', ['-q', ...asUser, file], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'pipe']
  })
  const errors: string[] = []
  child.stderr.setEncoding('utf8').on('data', (text: string) => errors.push(text))
  t.teardown(() => killed(child))
  const url = `postgresql://twostep@127.0.0.1:${port}/twostep`
  while (!(await isUp(url))) {
    if (child.exitCode !== null) throw new Error(`pgbouncer: ${errors.join('')}`)
    await sleep(20)
  }
  return url
}

async function isUp(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  return client
    .connect()
    .then(() => client.end())
    .then(
      () => true,
      () => false
    )
}
