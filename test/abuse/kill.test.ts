// S24: `kill -9` does not reset any count. The built service runs in its own process, on the machine's clock.
import t from 'tap'
import { verbsOver } from '../support/app.ts'
import { createTestDatabase } from '../support/database.ts'
import { verdictOf, wrongCode } from '../support/guesses.ts'
import { isProblem } from '../support/problems.ts'
import { startServer } from '../support/server.ts'

type Verbs = ReturnType<typeof verbsOver>

const databaseUrl = await createTestDatabase(t)
const start = () => startServer(t, { DATABASE_URL: databaseUrl })

/** Returns the next time step. The code of the current one is used: it confirmed the authenticator. */
const nextStep = () => new Date(Date.now() + 30_000)

/** Creates a user who has just confirmed an authenticator with the current code. */
async function setUp({ createUser, assertedToken, enroll, confirm, codeAt }: Verbs) {
  const user = await createUser()
  const token = await assertedToken(user)
  const { authenticatorId, setupKey: secret } = (await enroll(token)).json()
  const confirmed = await confirm(token, authenticatorId, codeAt(secret, new Date()))
  const recoveryCodes: string[] = confirmed.json().recoveryCodes
  return { ...user, secret, recoveryCodes, codeAt: (at: Date) => codeAt(secret, at) }
}

t.test(
  'S24: 429: a right code is rejected after kill -9 directly after the tenth wrong code',
  async (t) => {
    const server = await start()
    const before = verbsOver(server.url)
    const [guessed, owner] = [await setUp(before), await setUp(before)]
    const spent = await before.assertedToken(owner)
    const used = owner.codeAt(nextStep())
    t.equal(verdictOf(await before.verify(spent, used)), '200')
    const stepTokens = [await before.assertedToken(guessed), await before.assertedToken(guessed)]

    let remaining: number[] = []
    for (const stepToken of stepTokens.flatMap((token) => Array<string>(5).fill(token))) {
      const answer = await before.verify(stepToken, wrongCode(guessed, new Date()))
      remaining = [...remaining, answer.json().attemptsRemaining]
    }
    await server.kill()
    t.same(remaining, [4, 3, 2, 1, 0, 4, 3, 2, 1, 0])

    const after = verbsOver((await start()).url)
    for (const stepToken of [...stepTokens, await after.assertedToken(guessed)]) {
      const answer = await after.verify(stepToken, guessed.codeAt(nextStep()))
      t.match(isProblem(t, answer, 429, 'too-many-attempts'), { scope: 'user', recoveryOpen: true })
    }
    const replay = await after.verify(await after.assertedToken(owner), used)
    t.equal(verdictOf(replay), '422 code-rejected', 'a used code stays used')
    t.equal(verdictOf(await after.verify(spent, '000000')), '401 invalid-credential')

    const [recoveryCode = ''] = guessed.recoveryCodes
    t.equal(verdictOf(await after.recover(await after.assertedToken(guessed), recoveryCode)), '200')
    const unlocked = await after.verify(
      await after.assertedToken(guessed),
      guessed.codeAt(nextStep())
    )
    t.equal(verdictOf(unlocked), '200', 'a recovery code unlocks the codes')
  }
)
