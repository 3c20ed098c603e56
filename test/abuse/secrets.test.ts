// S26: an attacker who reads the logs or copies the database finds no secret.
import t from 'tap'
import { MASTER_KEY, OPERATOR_KEY, PASSWORD, startApp } from '../support/app.ts'
import { dumpOf } from '../support/dump.ts'
import { WRONG_RECOVERY_CODE, wrongCode } from '../support/guesses.ts'
import { MAIL_WAITS } from '../support/records.ts'
import { decodeBase32 } from '../support/rfc6238.ts'

t.test('S26: logs and database contain no secret that signs a user in', async (t) => {
  const service = await startApp(t, { env: MAIL_WAITS })
  const { clock, database, enrolledUser, login, logged, newRecoveryCodes, recover, verify } =
    service
  const user = await enrolledUser()
  const [spent = '', ...codes] = user.recoveryCodes
  const stepToken = (await login(user)).json().stepToken
  await login({ ...user, password: `${PASSWORD}!` })
  const typed = [wrongCode(user, clock.now()), user.nextCode()]
  for (const code of typed) await verify(stepToken, code)
  for (const code of [WRONG_RECOVERY_CODE, spent]) await recover(await user.stepToken(), code)
  const accessToken = await user.accessToken()
  const renewed = await newRecoveryCodes(accessToken)

  const secret = decodeBase32(user.secret)
  const secrets = [
    PASSWORD,
    user.secret,
    user.secret.replaceAll(' ', ''),
    secret.toString('hex'),
    secret.toString('base64'),
    ...[spent, ...codes, ...renewed].flatMap((code) => [code, code.replaceAll('-', '')]),
    ...[stepToken, accessToken],
    ...[user.account.apiKey, OPERATOR_KEY].map((key) => key.slice(-43)),
    MASTER_KEY.replace('test:', '')
  ]
  const texts = { logs: logged.join('\n'), database: await dumpOf(database) }
  t.ok(
    texts.logs.includes('/v1/verify') && texts.database.includes(user.email),
    'the logs and the dump are not empty'
  )
  for (const [where, text] of Object.entries(texts)) {
    t.same(
      secrets.filter((each) => each === '' || text.toLowerCase().includes(each.toLowerCase())),
      [],
      where
    )
  }
  // Every dump contains these six digits as part of some number. As a separate text they would be the code.
  for (const code of typed)
    t.notMatch(texts.logs + texts.database, new RegExp(`(?<![\\d.])${code}(?!\\d)`))
})
