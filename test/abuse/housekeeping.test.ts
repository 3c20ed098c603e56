// S25: what one replica forgets, on its own clock, another may still have to know.
import t from 'tap'
import { createEnrollments } from '../../src/data/enrollments.ts'
import { createVerdicts } from '../../src/data/verdicts.ts'
import { startApp } from '../support/app.ts'
import { verdictOf, wrongCode } from '../support/guesses.ts'
import { isProblem } from '../support/problems.ts'

const { assertedToken, clock, confirm, createUser, database, enroll, enrolledUser, verify } =
  await startApp(t)
const verdicts = createVerdicts(database.prisma)
const enrollments = createEnrollments(database.prisma)

const later = (minutes: number) => new Date(clock.now().getTime() + minutes * 60_000)

t.test('S25: 401 for a used-up step token that a fast clock takes for expired', async (t) => {
  const user = await enrolledUser()
  const [usedUp, guessed] = [await assertedToken(user), await assertedToken(user)]
  t.equal(verdictOf(await verify(usedUp, user.codeAt(clock.now()))), '200')
  for (let guess = 0; guess < 5; guess += 1) await verify(guessed, wrongCode(user, clock.now()))

  t.equal(await verdicts.forgetExpiredStepTokens(later(30)), 0)
  isProblem(t, await verify(usedUp, user.nextCode()), 401, 'invalid-credential')
  isProblem(t, await verify(guessed, user.nextCode()), 429, 'too-many-attempts')
  t.equal(await verdicts.forgetExpiredStepTokens(later(120)), 2, 'in the end they go')
})

t.test('410 for a late code, and 404 once the enrolment is forgotten', async (t) => {
  const token = await assertedToken(await createUser())
  const { authenticatorId } = (await enroll(token)).json()
  clock.advance({ minutes: 10 })
  t.equal(await enrollments.forgetExpired(clock.now()), 0)
  isProblem(t, await confirm(token, authenticatorId, '000000'), 410, 'enrollment-expired')
  t.equal(await enrollments.forgetExpired(later(61)), 1)
  isProblem(t, await confirm(token, authenticatorId, '000000'), 404, 'enrollment-not-found')
})
