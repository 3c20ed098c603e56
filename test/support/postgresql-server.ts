import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { chown, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import pg from 'pg'
import type { Test } from 'tap'
import { ON_SERVER } from './app.ts'
import { freePort } from './processes.ts'
import { killed } from './server.ts'

const VERSIONS = '/usr/lib/postgresql'
const binaries = existsSync(VERSIONS)
  ? readdirSync(VERSIONS)
      .map((version) => join(VERSIONS, version, 'bin'))
      .filter((folder) => existsSync(join(folder, 'initdb')))
      .sort()
      .at(-1)
  : undefined

/** Options of a test that is started on its own: it needs only the binaries, and no database server of the suite. */
export const WITH_POSTGRESQL_BINARIES = {
  skip: binaries ? false : `needs PostgreSQL's binaries in ${VERSIONS}`
}

/** Options of a test that stops a PostgreSQL server of its own. It also needs the database server of the suite. */
export const WITH_POSTGRESQL_SERVER = ON_SERVER.skip ? ON_SERVER : WITH_POSTGRESQL_BINARIES

// PostgreSQL refuses to run as root.
const owner =
  process.getuid?.() === 0 ? { uid: idOf('-u', 'postgres'), gid: idOf('-g', 'postgres') } : {}

function idOf(...args: string[]): number {
  return Number(spawnSync('id', args, { encoding: 'utf8' }).stdout)
}

// No data outlives the test, so no data has to reach a disk. A test can soon use up a few connections.
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  fsync: 'off',
  full_page_writes: 'off',
  autovacuum: 'off',
  shared_buffers: '16MB',
  max_connections: '30'
}

/** The application name of the test's own clients, which distinguishes them from clients of the service. */
const OWN_NAME = 'test'

export interface PostgresqlServer {
  url: string
  port: number
  /** Suspends all processes of the server: connections stay open, without responses. */
  freeze(): void
  thaw(): void
  /** Ends the server like a power failure: it closes no session, and the next start recovers from the log. */
  kill(): Promise<void>
  /** Resolves when the server accepts connections. */
  start(): Promise<void>
  /** Runs one statement as a client of the test's own, which ignores `default_transaction_read_only`. */
  query(sql: string): Promise<pg.QueryResult>
  /** Changes a setting for all sessions, including the open ones. */
  set(name: string, value: string): Promise<void>
  /** Takes every connection of the server, and ends the sessions of other clients for it. */
  occupy(): Promise<void>
  vacate(): Promise<void>
  /**
   * Creates a database whose tables are on a disk of this size, and returns its URL and the disk's folder. Null if this
   * process may not mount a disk.
   */
  createSmallDatabase(t: Test, megabytes: number): Promise<{ url: string; disk: string } | null>
  /** Starts a standby that replicates this server, synchronously if `synchronous_standby_names` says so. */
  createStandby(t: Test): Promise<PostgresqlServer>
}

/** Starts an empty PostgreSQL server for this test, which the test may freeze and stop. */
export async function createPostgresqlServer(t: Test): Promise<PostgresqlServer> {
  const data = await ownFolder(t)
  await run('initdb', '--no-sync', '-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8')
  const server = await serverOf(t, data)
  await server.start()
  return server
}

async function serverOf(t: Test, data: string): Promise<PostgresqlServer> {
  const port = await freePort()
  const url = `postgresql://postgres@127.0.0.1:${port}/postgres`
  let postmaster: ChildProcess | undefined

  /** Signals every process of the server. Suspends the first process before, so that it starts no others. */
  function signal(name: NodeJS.Signals): void {
    postmaster?.kill('SIGSTOP')
    const { stdout } = spawnSync('pgrep', ['-P', String(postmaster?.pid)], { encoding: 'utf8' })
    const backends = stdout.split('\n').filter(Boolean).map(Number)
    for (const pid of backends) process.kill(pid, name)
    postmaster?.kill(name)
  }

  async function kill(): Promise<void> {
    if (!postmaster) return
    signal('SIGCONT')
    const gone =
      postmaster.exitCode === null && new Promise((done) => postmaster?.once('exit', done))
    postmaster.kill('SIGQUIT')
    await gone
    postmaster = undefined
  }
  t.teardown(async () => {
    if (postmaster) signal('SIGKILL')
    if (postmaster) await killed(postmaster)
  })

  async function connect(): Promise<pg.Client> {
    const client = new pg.Client({
      connectionString: url,
      application_name: OWN_NAME,
      options: '-c default_transaction_read_only=off'
    })
    client.on('error', () => {})
    await client.connect()
    return client
  }

  async function query(sql: string): Promise<pg.QueryResult> {
    const client = await connect()
    try {
      return await client.query(sql)
    } finally {
      await client.end()
    }
  }

  async function isUp(): Promise<boolean> {
    return query('SELECT 1').then(
      () => true,
      () => false
    )
  }

  async function start(): Promise<void> {
    const settings = Object.entries(SETTINGS).map(([name, value]) => `--${name}=${value}`)
    postmaster = spawn(binary('postgres'), ['-D', data, '-p', String(port), ...settings], {
      ...owner,
      cwd: data,
      stdio: 'ignore'
    })
    while (!(await isUp())) {
      if (postmaster.exitCode !== null) throw new Error(`postgres: ${postmaster.exitCode}`)
      await sleep(20)
    }
  }

  const occupants: pg.Client[] = []
  async function occupy(): Promise<void> {
    const first = await connect()
    occupants.push(first)
    while (occupants.length < Number(SETTINGS.max_connections)) {
      await first.query(`
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND application_name <> '${OWN_NAME}'`)
      const another = await connect().catch(() => null)
      if (another) occupants.push(another)
    }
  }

  return {
    url,
    port,
    freeze: () => signal('SIGSTOP'),
    thaw: () => signal('SIGCONT'),
    kill,
    start,
    query,
    set: async (name, value) => {
      await query(`ALTER SYSTEM SET ${name} = '${value}'`)
      await query('SELECT pg_reload_conf()')
    },
    occupy,
    vacate: async () => {
      await Promise.all(occupants.splice(0).map((client) => client.end()))
    },
    createSmallDatabase: async (t, megabytes) => {
      const disk = await ownFolder(t)
      const mounting = ['-t', 'tmpfs', '-o', `size=${megabytes}m,mode=0777`, 'tmpfs', disk]
      if (spawnSync('mount', mounting).status !== 0) return null
      t.teardown(() => spawnSync('umount', ['-l', disk]))
      const folder = join(disk, 'tables')
      await mkdir(folder)
      if (owner.uid !== undefined) await chown(folder, owner.uid, owner.gid)
      await query(`CREATE TABLESPACE small LOCATION '${folder}'`)
      await query('CREATE DATABASE small TABLESPACE small TEMPLATE template0')
      return { url: url.replace(/postgres$/, 'small'), disk }
    },
    createStandby: async (t) => {
      const copy = await ownFolder(t)
      await run('pg_basebackup', '--no-sync', '-c', 'fast', '-R', '-D', copy, '-d', url)
      const standby = await serverOf(t, copy)
      await standby.start()
      return standby
    }
  }
}

function binary(name: string): string {
  return join(binaries ?? '', name)
}

async function run(name: string, ...args: string[]): Promise<void> {
  await promisify(execFile)(binary(name), args, { ...owner, cwd: tmpdir() })
}

/** Creates a folder that only its owner can open, as PostgreSQL requires. */
async function ownFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'twostep-postgresql-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  if (owner.uid !== undefined) await chown(folder, owner.uid, owner.gid)
  return folder
}
