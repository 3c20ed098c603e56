// B3: the setup key can be typed by hand instead of scanned.
import t from 'tap'
import { startApp } from '../support/app.ts'
import { codeAt } from '../support/rfc6238.ts'

const service = await startApp(t, { listen: true })
const { clock, createUser, enroll, confirm, login, verify, assertedToken } = service

t.test('the setup key is the key in the QR code, in every spelling', async (t) => {
  const user = await createUser()
  const token = await assertedToken(user)
  const { authenticatorId, setupKey, otpauthUri, qrCode, algorithm, digits, period } = (
    await enroll(token)
  ).json()
  t.match(
    setupKey,
    /^[A-Z2-7]{4}( [A-Z2-7]{4}){7}$/,
    'groups of four, without ambiguous characters'
  )
  t.match(qrCode, /^data:image\/svg\+xml;base64,/, 'the QR code is there too')

  const scanned = new URL(otpauthUri).searchParams.get('secret') ?? ''
  const now = clock.now()
  const codes = [setupKey, setupKey.toLowerCase(), setupKey.replaceAll(' ', ''), scanned].map(
    (secret) => codeAt({ secret, algorithm, digits, periodSeconds: period }, now)
  )
  t.equal(new Set(codes).size, 1)

  const confirmed = await confirm(token, authenticatorId, codes[0] ?? '')
  t.match(confirmed.json(), { status: 'authenticated', reason: 'enrolled' })

  clock.advance({ seconds: 30 })
  const typed = { secret: setupKey.toLowerCase() }
  const signedIn = await verify((await login(user)).json().stepToken, codeAt(typed, clock.now()))
  t.equal(signedIn.statusCode, 200)
})

t.test('the three parameters are the defaults of authenticator apps', async (t) => {
  const answer = await enroll(await assertedToken(await createUser()))
  t.match(answer.json(), { algorithm: 'SHA1', digits: 6, period: 30 })
  const { searchParams } = new URL(answer.json().otpauthUri)
  // An app that reads these parameters must show the same codes as an app that ignores them.
  t.same(
    [searchParams.get('algorithm') ?? 'SHA1', searchParams.get('digits') ?? '6'],
    ['SHA1', '6']
  )
  t.equal(searchParams.get('period') ?? '30', '30')
})
