// What one account does to the service while bench/isolation.ts measures the others. Each attack returns when it is over.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { Pool } from 'undici'
import { ISSUER, signStepToken } from './keys.ts'
import { accountIdOf, type BenchUser, userAt } from './users.ts'

/** The account that attacks: the benchmark divides its users evenly, so every twentieth user belongs to it. */
export const ATTACKER = 0
const ACCOUNTS = 20
const CLIENT_ID = 'isolation'
const GUESSES_PER_SECOND = 30
/** As large as a provider may make it, and just below the limit of the service. */
const KEY_SET_BYTES = [256 * 1024, 60 * 1024]

export interface AttackOptions {
  urls: string[]
  databaseUrl: string
  /** A live key of the attacking account, with every scope. */
  apiKey: string
  /** The slug of the attacking account. */
  slug: string
  isOver(): boolean
}

export interface Attack {
  name: string
  run(options: AttackOptions): Promise<void>
}

export const ATTACKS: readonly Attack[] = [
  {
    name: 'changes one user over 100 connections',
    run: (options) =>
      flood(options, 100, (_, n) => ({
        method: 'PATCH',
        path: `/v1/users/${userOfAttacker(0).userId}`,
        body: { externalId: `x-${n}` }
      }))
  },
  {
    name: 'changes its users, and lists them, over 100 connections',
    run: (options) =>
      flood(options, 100, (connection, n) => {
        const { userId } = userOfAttacker(connection)
        return n % 2 === 0
          ? { method: 'GET', path: '/v1/users', body: undefined }
          : { method: 'PATCH', path: `/v1/users/${userId}`, body: { externalId: `${userId}-${n}` } }
      })
  },
  {
    name: 'creates users with passwords over 40 connections',
    run: (options) =>
      flood(options, 40, (connection, n) => ({
        method: 'POST',
        path: '/v1/users',
        body: {
          email: `new-${connection}-${n}-${Date.now()}@example.com`,
          password: 'correct horse battery'
        }
      }))
  },
  { name: 'names identity providers with large key sets', run: nameProviders },
  {
    name: 'causes mails over 10 connections',
    run: (options) =>
      flood(options, 10, (connection, n) => {
        const { userId } = userOfAttacker(connection)
        return {
          method: 'PATCH',
          path: `/v1/users/${userId}`,
          body: { email: `moved-${connection}-${n % 2}@example.com` }
        }
      })
  },
  { name: 'guesses 30 codes per second for a user whose row is locked', run: guessAtLockedUser }
]

interface Request {
  method: 'GET' | 'POST' | 'PATCH'
  path: string
  body: object | undefined
  headers?: Record<string, string>
  /** Another credential than the account's key. */
  credential?: string
}

function userOfAttacker(number: number): BenchUser {
  return userAt(ATTACKER + number * ACCOUNTS)
}

/** Sends requests over a number of connections to each replica in turn. Each sends the next one after its response. */
async function flood(
  options: AttackOptions,
  connections: number,
  request: (connection: number, n: number) => Request
): Promise<void> {
  const pools = options.urls.map((url) => new Pool(url, { connections, pipelining: 1 }))
  const run = async (connection: number) => {
    const pool = pools[connection % pools.length]
    for (let n = 0; pool && !options.isOver(); n += 1) {
      await send(pool, options, request(connection, n))
    }
  }
  await Promise.all(Array.from({ length: connections }, (_, connection) => run(connection)))
  await Promise.all(pools.map((pool) => pool.close()))
}

/** Returns the status. The attacker does not care about failures. */
async function send(
  pool: Pool,
  { apiKey }: AttackOptions,
  { method, path, body, headers = {}, credential = apiKey }: Request
): Promise<number> {
  const response = await pool.request({
    method,
    path,
    headers: {
      ...(credential !== '' && { authorization: `Bearer ${credential}` }),
      ...(body && { 'content-type': 'application/json' }),
      ...headers
    },
    body: body ? JSON.stringify(body) : null
  })
  await response.body.dump()
  return response.statusCode
}

/** Names one own provider after another in the policy, and makes the service read the keys of each. */
async function nameProviders(options: AttackOptions): Promise<void> {
  const server = createServer((request, response) => {
    const { port } = server.address() as AddressInfo
    const [, n = ''] = /^\/(\d+)/.exec(request.url ?? '') ?? []
    const issuer = `http://127.0.0.1:${port}/${n}`
    response.setHeader('content-type', 'application/json')
    if (request.url?.endsWith('/jwks')) response.end(keySetOf(KEY_SET_BYTES[Number(n) % 2] ?? 0))
    else response.end(JSON.stringify({ issuer, jwks_uri: `${issuer}/jwks` }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const pools = options.urls.map((url) => new Pool(url, { connections: 4, pipelining: 1 }))
  for (let n = 0; !options.isOver(); n += 1) {
    const issuer = `http://127.0.0.1:${port}/${n}`
    const [pool = new Pool(''), ...others] = pools
    const sso = { mode: 'optional', issuer, clientId: CLIENT_ID }
    const headers = { 'if-match': '*' }
    await send(pool, options, { method: 'PATCH', path: '/v1/policy', body: { sso }, headers })
    const body = { account: options.slug, idToken: unsignedToken(issuer) }
    const login = { method: 'POST', path: '/v1/login/sso', body, credential: '' } as const
    await Promise.all([pool, ...others].map((each) => send(each, options, login)))
  }
  await Promise.all(pools.map((pool) => pool.close()))
  server.closeAllConnections()
  server.close()
}

/** Empty keys: the most objects that a document of this size can contain. */
function keySetOf(bytes: number): string {
  return `{"keys":[${Array<string>(Math.floor((bytes - 20) / 3))
    .fill('{}')
    .join()}]}`
}

/** Returns an ID token with valid claims. Its signature is invalid, which the service finds out with the provider's keys. */
function unsignedToken(issuer: string): string {
  const now = Math.floor(Date.now() / 1000)
  const claims = { iss: issuer, aud: CLIENT_ID, sub: 'x', iat: now, exp: now + 300, auth_time: now }
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')
  const signature = Buffer.alloc(64, 1).toString('base64url')
  return `${encode({ alg: 'ES256', kid: 'x' })}.${encode(claims)}.${signature}`
}

/** Guesses while another transaction holds the user's row, as a long report or a forgotten session may do. */
async function guessAtLockedUser(options: AttackOptions): Promise<void> {
  const { accountId, userId } = userOfAttacker(50)
  const client = new pg.Client({ connectionString: options.databaseUrl })
  await client.connect()
  await client.query('BEGIN')
  await client.query('SELECT 1 FROM "User" WHERE "accountId" = $1 AND id = $2 FOR UPDATE', [
    accountId,
    userId
  ])
  const pools = options.urls.map((url) => new Pool(url, { connections: 200, pipelining: 1 }))
  const guesses: Promise<number>[] = []
  for (let n = 0; !options.isOver(); n += 1) {
    const credential = signStepToken(userOfAttacker(50), 'verify')
    const request = { method: 'POST', path: '/v1/verify', body: { code: '000000' } } as const
    const pool = pools[n % pools.length]
    if (pool) guesses.push(send(pool, options, { ...request, credential }))
    await sleep(1000 / GUESSES_PER_SECOND)
  }
  await Promise.all(guesses)
  await client.query('ROLLBACK')
  await client.end()
  await Promise.all(pools.map((pool) => pool.close()))
}

/** Returns the account's key with every scope that the attacks need. */
export async function createAttackerKey(url: string, operatorKey: string): Promise<string> {
  const scopes = ['users:read', 'users:write', 'policy:read', 'policy:write', 'sso:write']
  const response = await fetch(`${url}/v1/api-keys`, {
    method: 'POST',
    headers: { authorization: `Bearer ${operatorKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ accountId: accountIdOf(ATTACKER), name: ISSUER, scopes })
  })
  const { key } = (await response.json()) as { key: string }
  return key
}
