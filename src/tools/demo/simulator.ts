// The simulated phone of `--auto`. It reads the key from the same URI as a real phone, and never waits.
import { generateSync } from 'otplib'
import type { Print } from './calls.ts'
import { paint } from './paint.ts'
import type { Phone, SetUp } from './phone.ts'

const PERIOD_SECONDS = 30

const AHEAD = `   This is the code of the next time step, because the current code is already used. The service accepts
   a code up to 30 s early, because the clocks of some phones are fast. So the demo does not wait.`

export function createSimulator(print: Print): Phone {
  let secret = ''
  let lastTimeStep = 0

  return {
    async scan({ otpauthUri }: SetUp) {
      secret = new URL(otpauthUri).searchParams.get('secret') ?? ''
      print('\n   The simulated phone has read the QR code.')
    },

    async readCode() {
      const current = Math.floor(Date.now() / 1000 / PERIOD_SECONDS)
      const timeStep = Math.max(current, lastTimeStep + 1)
      lastTimeStep = timeStep
      const code = generateSync({ secret, epoch: timeStep * PERIOD_SECONDS })
      print(`\n   The simulated phone shows ${paint('bold', code)}.`)
      if (timeStep > current) print(AHEAD)
      return code
    },

    putAway() {}
  }
}
