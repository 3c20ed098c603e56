// The floor: a minimal implementation of the second step, with the same guarantees for the code itself and nothing else. It
// is one file with Fastify and `pg`. It verifies a JWT, reads the row, decrypts the secret, compares three codes, claims the
// time step in one conditional write and signs an access token. It has no limits, attempts, policy, audit, mail, epochs or
// revocation. It also has a minimal login: argon2id behind a route.
import { createHmac, generateKeyPairSync, randomUUID } from 'node:crypto'
import { availableParallelism } from 'node:os'
import { verify as verifyPassword } from '@node-rs/argon2'
import { createSigner, createVerifier } from 'fast-jwt'
import Fastify, { type FastifyReply } from 'fastify'
import pLimit from 'p-limit'
import pg from 'pg'
import { openForFloor } from './floor-secrets.ts'

const PERIOD_SECONDS = 30
const ACCESS_TOKEN_TTL_SECONDS = 900

interface Row {
  secret: Buffer
  epoch: number
  lastTimeStep: number
}

const { DATABASE_URL = '', PORT = '', STEP_KEY = '', ISSUER = '', PASSWORD_HASH = '' } = process.env

const pool = new pg.Pool({ connectionString: DATABASE_URL, max: 10 })
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const verify = createVerifier({
  key: STEP_KEY,
  algorithms: ['HS256'],
  allowedIss: ISSUER,
  cache: false
})
const sign = createSigner({
  key: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
  algorithm: 'ES256'
})

const app = Fastify()

app.post(
  '/v1/verify',
  {
    schema: {
      body: {
        type: 'object',
        required: ['code'],
        properties: { code: { type: 'string', pattern: '^[0-9]{6}$' } }
      },
      response: {
        200: {
          type: 'object',
          properties: { accessToken: { type: 'string' }, expiresIn: { type: 'integer' } }
        }
      }
    }
  },
  async (request, reply: FastifyReply) => {
    const { code } = request.body as { code: string }
    const { sub, account } = verify((request.headers.authorization ?? '').slice('Bearer '.length))
    const { rows } = await pool.query<Row>({
      name: 'read',
      text: 'SELECT secret, epoch, "lastTimeStep" FROM floor WHERE account = $1 AND id = $2',
      values: [account, sub]
    })
    const [row] = rows
    if (!row) return reply.code(401).send()
    const timeStep = matchTimeStep(openForFloor(row.secret), code)
    if (timeStep === undefined || timeStep <= row.lastTimeStep) return reply.code(422).send()
    const { rowCount } = await pool.query({
      name: 'claim',
      text: 'UPDATE floor SET "lastTimeStep" = $3 WHERE account = $1 AND id = $2 AND "lastTimeStep" < $3',
      values: [account, sub, timeStep]
    })
    if (rowCount !== 1) return reply.code(422).send()
    const iat = Math.floor(Date.now() / 1000)
    const exp = iat + ACCESS_TOKEN_TTL_SECONDS
    const accessToken = sign({
      iss: ISSUER,
      aud: ISSUER,
      sub,
      account,
      iat,
      exp,
      jti: randomUUID()
    })
    return { accessToken, expiresIn: ACCESS_TOKEN_TTL_SECONDS }
  }
)

const hashing = pLimit(Math.min(3, availableParallelism()))
app.post('/v1/login', async (request) => {
  const { password } = request.body as { password: string }
  return { isRight: await hashing(() => verifyPassword(PASSWORD_HASH, password)) }
})

app.get('/health/ready', async () => ({ status: 'ready' }))

await app.listen({ port: Number(PORT), host: '127.0.0.1' })
process.once('SIGTERM', async () => {
  await app.close()
  await pool.end()
})

/** Returns the time step of the code: the current one or one on each side (RFC 6238 §5.2). */
function matchTimeStep(secret: Buffer, code: string): number | undefined {
  const current = Math.floor(Date.now() / 1000 / PERIOD_SECONDS)
  const codes = [current - 1, current, current + 1].map((step) => ({
    step,
    code: hotp(secret, step)
  }))
  return codes.find((one) => one.code === code)?.step
}

/** Returns the code for a counter (RFC 4226 §5.3). */
function hotp(secret: Buffer, counter: number): string {
  const moving = Buffer.alloc(8)
  moving.writeBigUInt64BE(BigInt(counter))
  const mac = createHmac('sha1', secret).update(moving).digest()
  const offset = (mac.at(-1) ?? 0) & 0xf
  return String((mac.readUInt32BE(offset) & 0x7fffffff) % 1_000_000).padStart(6, '0')
}
