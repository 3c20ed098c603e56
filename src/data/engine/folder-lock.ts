// A lock that ends with its process, however that ends. Lock files judged by their age (as
// proper-lockfile's) fit badly: after a kill the next start would wait until the file is stale,
// and a holder whose event loop is busy for seconds, as in the first start of an embedded
// database, would look dead. A process number alone misleads in containers, where every service
// is process 1. So the proof of life is a listening Unix socket, which the kernel answers for
// and takes away: across containers that share the folder, and while the event loop is busy.
// File systems without sockets (some mounts, Windows) get a plain file, judged by the process.

import { randomBytes, randomInt } from 'node:crypto'
import { renameSync } from 'node:fs'
import { lstat, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

// A claim's name tells whose it is: process number and start, then what makes it unique.
const claimPattern = /^lock\.(\d+)\.(\d+)\.[0-9a-f]+$/
// `sun_path` holds 104 bytes on macOS and 108 on Linux, a NUL included; four are for `.new`.
const SOCKET_PATH_MAX_BYTES = 99
// Claims of a moment withdraw for each other; the pauses are random, so one of them comes through.
const TRIES = 6
const PAUSE_MAX_MS = 80

type Claim = { name: string; withdraw(): Promise<void> }

/**
 * Takes the folder for this process and returns what gives it back. Throws within half a second
 * when a living process has it; what dead ones left is cleared away.
 *
 * Each contender first stakes a claim of its own, then looks for others': of two, at least the
 * later sees the earlier and withdraws, so never do both hold the folder. Claims have unique
 * names, so clearing a dead one can never hit a living one.
 */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  for (let tries = 1; ; tries += 1) {
    const claim = await stakeClaim(folder)
    const rival = await findRival(folder, claim)
    if (rival === undefined) return claim.withdraw
    await claim.withdraw()
    if (tries === TRIES) {
      throw new Error(
        `${folder} is in use by process ${rival}. An embedded database serves one process: ` +
          'stop the other, or let DATABASE_URL name a PostgreSQL server'
      )
    }
    await sleep(randomInt(PAUSE_MAX_MS))
  }
}

async function stakeClaim(folder: string): Promise<Claim> {
  const start = (await startOf(process.pid)) ?? ownStart
  const name = `lock.${process.pid}.${start}.${randomBytes(6).toString('hex')}`
  const path = join(folder, name)
  const stopListening = await listenAt(path)
  if (!stopListening) await writeFile(path, '', { flag: 'wx' })
  return {
    name,
    withdraw: async () => {
      await stopListening?.()
      await rm(path, { force: true })
    }
  }
}

/** The process number of a living claim other than one's own. */
async function findRival(folder: string, own: Claim): Promise<number | undefined> {
  for (const name of await readdir(folder)) {
    const [, pid, start] = claimPattern.exec(name) ?? []
    if (!pid || !start || name === own.name) continue
    const path = join(folder, name)
    const isAlive = (await answersAt(path)) ?? (await isRunning(Number(pid), start))
    if (isAlive) return Number(pid)
    await rm(path, { force: true })
  }
  return undefined
}

/** Resolves to what stops the listening, or to nothing where there can be no socket. */
async function listenAt(path: string): Promise<(() => Promise<void>) | undefined> {
  const short = shortest(path)
  if (!short) return undefined
  const server = createServer((socket) => socket.destroy())
  // Being connected to is all it is for; it must not keep the process from ending.
  server.unref()
  return new Promise((resolve) => {
    server.once('error', () => resolve(undefined))
    // Visible as a claim only once it listens: in between it would look dead.
    server.listen(`${short}.new`, () => {
      renameSync(`${short}.new`, short)
      resolve(() => new Promise<void>((closed) => server.close(() => closed())))
    })
  })
}

/** Whether somebody listens; undefined where that can't be told. */
async function answersAt(path: string): Promise<boolean | undefined> {
  const short = shortest(path)
  const isSocket = await lstat(path).then(
    (stats) => stats.isSocket(),
    () => false
  )
  if (!isSocket || !short) return undefined
  return new Promise((resolve) => {
    const socket = connect(short)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', (error: NodeJS.ErrnoException) =>
      resolve(error.code === 'ECONNREFUSED' || error.code === 'ENOENT' ? false : undefined)
    )
  })
}

function shortest(path: string): string | undefined {
  const fits = [path, relative(process.cwd(), path)].filter(
    (candidate) => Buffer.byteLength(candidate) <= SOCKET_PATH_MAX_BYTES
  )
  return fits[0]
}

// A number may have gone to a younger process since, our own included; the start tells.
async function isRunning(pid: number, start: string): Promise<boolean> {
  const actualStart = (await startOf(pid)) ?? (pid === process.pid ? ownStart : undefined)
  if (actualStart !== undefined) return actualStart === start
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

// Only this process knows it of itself, which is enough to know a claim of its own.
const ownStart = String(Math.floor(performance.timeOrigin))

/** When a process started, in the kernel's ticks; 'never' once it has ended, undefined without /proc. */
async function startOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  // The name in parentheses may hold spaces, so fields count from the last parenthesis on.
  const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  // A zombie has ended; only its parent has not asked yet.
  return state === 'Z' ? 'never' : fields[18]
}
