// A lock that ends with its process, even if the process is killed or crashes. Lock files that are judged by their age
// (such as those of proper-lockfile) do not fit. After `kill -9`, the next start would wait until the file is stale.
// And a holder whose event loop is busy for seconds, as in the first start of an embedded database, would look crashed.
// A process number alone is not enough in containers, where every service is process 1. So the proof is a listening
// Unix socket. The kernel accepts connections to it and removes it with the process. That works across containers that
// share the folder, and while the event loop is busy. On file systems without sockets (some mounts, Windows), the claim
// is a plain file and is judged by its process.

import { randomBytes, randomInt } from 'node:crypto'
import { renameSync } from 'node:fs'
import { lstat, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

// The name of a claim contains the number and the start of its process, and a random part that makes it unique.
const claimPattern = /^lock\.(\d+)\.(\d+)\.[0-9a-f]+$/
// `sun_path` has 104 bytes on macOS and 108 on Linux, including a NUL; four bytes are for `.new`.
const SOCKET_PATH_MAX_BYTES = 99
// Claims that are staked at the same moment withdraw for each other. The pauses are random, so one of them succeeds.
const TRIES = 6
const PAUSE_MAX_MS = 80

type Claim = { name: string; withdraw(): Promise<void> }

/**
 * Locks the folder for this process and returns the function that unlocks it. Throws within half a second if a running
 * process holds the lock. Removes the claims of processes that have ended.
 *
 * Each contender first stakes its own claim, then looks for other claims. Of two contenders, at least the later one
 * sees the earlier one and withdraws, so two processes never hold the folder. Claims have unique names, so removing the
 * claim of an ended process never removes the claim of a running one.
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

/** Returns the process number of another claim whose process is running. */
async function findRival(folder: string, own: Claim): Promise<number | undefined> {
  for (const name of await readdir(folder)) {
    const [, pid, start] = claimPattern.exec(name) ?? []
    if (!pid || !start || name === own.name) continue
    const path = join(folder, name)
    const isAlive = (await isListening(path)) ?? (await isRunning(Number(pid), start))
    if (isAlive) return Number(pid)
    await rm(path, { force: true })
  }
  return undefined
}

/** Resolves to the function that closes the socket, or to undefined if the file system has no sockets. */
async function listenAt(path: string): Promise<(() => Promise<void>) | undefined> {
  const short = shortest(path)
  if (!short) return undefined
  const server = createServer((socket) => socket.destroy())
  // The socket only has to accept connections. It must not keep the process from ending.
  server.unref()
  return new Promise((resolve) => {
    server.once('error', () => resolve(undefined))
    // The claim becomes visible only when the socket listens. Before that, it would look abandoned.
    server.listen(`${short}.new`, () => {
      renameSync(`${short}.new`, short)
      resolve(() => new Promise<void>((closed) => server.close(() => closed())))
    })
  })
}

/** Returns whether a process listens on the socket; undefined if that cannot be determined. */
async function isListening(path: string): Promise<boolean | undefined> {
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

// A younger process, even this one, may have the same number. The start distinguishes them.
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

// Without /proc, a process knows only its own start. That is enough to recognise its own claims.
const ownStart = String(Math.floor(performance.timeOrigin))

/** Returns when a process started, in the kernel's ticks; 'never' if it has ended, undefined without /proc. */
async function startOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  // The name in parentheses may contain spaces, so the fields are counted from the last parenthesis.
  const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  // A zombie has ended. Its parent has only not read its exit status yet.
  return state === 'Z' ? 'never' : fields[18]
}
