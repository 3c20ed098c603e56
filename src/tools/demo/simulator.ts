// The phone of `--auto`: an authenticator app that takes the key from the same URI, and never waits.
import { generateSync } from 'otplib'
import type { Print } from './calls.ts'
import { paint } from './paint.ts'
import type { Phone, SetUp } from './phone.ts'

const PERIOD_SECONDS = 30

const AHEAD = `   It is the code of the next time step, since the one of this time step is used up. The service takes
   it up to 30 s early, because some phones run fast; so nobody has to wait here.`

export function createSimulator(print: Print): Phone {
  let secret = ''
  let lastTimeStep = 0

  return {
    async scan({ otpauthUri }: SetUp) {
      secret = new URL(otpauthUri).searchParams.get('secret') ?? ''
      print('\n   The made-up phone has read the QR code.')
    },

    async readCode() {
      const current = Math.floor(Date.now() / 1000 / PERIOD_SECONDS)
      const timeStep = Math.max(current, lastTimeStep + 1)
      lastTimeStep = timeStep
      const code = generateSync({ secret, epoch: timeStep * PERIOD_SECONDS })
      print(`\n   The made-up phone shows ${paint('bold', code)}.`)
      if (timeStep > current) print(AHEAD)
      return code
    },

    putAway() {}
  }
}
