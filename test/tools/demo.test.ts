// The demo runs to its end: with --auto in its own process, and with a person at the keyboard.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { createCalls } from '../../src/tools/demo/calls.ts'
import { openPerson } from '../../src/tools/demo/person.ts'
import { playStory } from '../../src/tools/demo/story.ts'
import { ISSUER, ON_SERVER, OPERATOR_KEY, startApp } from '../support/app.ts'
import { createClock } from '../support/clock.ts'
import { ENGINE_ARGS } from '../support/node-args.ts'
import { codeAt } from '../support/rfc6238.ts'

const PERIOD_MS = 30_000
const PROMPT = 'Enter the code that the app shows:'

t.test('exit 0: with --auto the demo runs to its end', ON_SERVER, async (t) => {
  const demo = fileURLToPath(new URL('../../dist/tools/demo.js', import.meta.url))
  const child = spawn(process.execPath, [...ENGINE_ARGS, demo, '--auto'], {
    stdio: ['ignore', 'pipe', 'pipe']
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  const [exitCode] = await once(child, 'close')
  t.equal(exitCode, 0, output)
  t.match(output, 'amr        ["pwd","otp","mfa"]')
  t.match(output, '"nextSignIn": "enrollment_required"')
  t.match(output, '"reason": "reset_pending"')
  t.notMatch(output, '\u001b', 'no colours without a terminal')
  t.notMatch(output, 'correct horse', 'the password is not shown')
})

t.test('after a mistyped code the demo accepts the next one', ON_SERVER, async (t) => {
  const { play, answer, screen, codeIn } = await openStage(t)
  const played = play()
  await answer(1, () => '12')
  await answer(2, () => codeIn(10 * PERIOD_MS))
  await answer(3, () => codeIn(0))
  await answer(4, () => codeIn(0))
  await answer(5, () => codeIn(PERIOD_MS))
  await played
  t.match(screen(), 'A code is six digits.')
  t.match(screen(), 'The clock of the phone is 300 seconds ahead.')
  t.match(screen(), 'Each code works once')
})

t.test('the demo stops at the end of the input', ON_SERVER, async (t) => {
  const { play, hangUp } = await openStage(t)
  const played = play()
  await Promise.all([t.rejects(played, { message: /no code was entered/ }), hangUp()])
})

/** A person at a keyboard, and the service on a clock that stands still. */
async function openStage(t: Test) {
  const clock = createClock(new Date())
  const { url } = await startApp(t, { clock, listen: true })
  const input = new PassThrough()
  const output = new PassThrough()
  let shown = ''
  output.on('data', (chunk: Buffer) => {
    shown += chunk
  })
  const phone = openPerson((line) => void output.write(`${line}\n`), { input, output })
  t.teardown(() => phone.putAway())

  const prompted = async (times: number) => {
    while (shown.split(PROMPT).length <= times) await once(output, 'data')
  }
  const secret = () => /(?:[A-Z2-7]{4} ){7}[A-Z2-7]{4}/.exec(shown)?.[0] ?? ''
  return {
    screen: () => shown,
    play: () =>
      playStory({
        deployment: { url: ISSUER, operatorKey: OPERATOR_KEY, stop: async () => {} },
        calls: createCalls(url, (line) => void output.write(`${line}\n`)),
        print: (line) => void output.write(`${line}\n`),
        phone
      }),
    /** Waits for the prompt with this number, and types the text. */
    async answer(prompt: number, text: () => string) {
      await prompted(prompt)
      input.write(`${text()}\n`)
    },
    async hangUp() {
      await prompted(1)
      input.end()
    },
    /** Returns the code that the app shows after this number of milliseconds. */
    codeIn: (ms: number) => codeAt({ secret: secret() }, new Date(clock.now().getTime() + ms))
  }
}
