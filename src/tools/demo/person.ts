// The phone in somebody's hand: the QR code goes to the terminal, and the code comes back by keyboard.
import { createInterface } from 'node:readline/promises'
import QRCode from 'qrcode'
import type { Print } from './calls.ts'
import { hasColors, paint } from './paint.ts'
import type { Phone, SetUp } from './phone.ts'

export interface Terminal {
  input: NodeJS.ReadableStream
  output: NodeJS.WritableStream
}

export function openPerson(
  print: Print,
  { input, output }: Terminal = { input: process.stdin, output: process.stdout }
): Phone {
  const terminal = createInterface({ input, output })
  const closed = new AbortController()
  terminal.once('close', () => closed.abort())

  return {
    async scan({ setupKey, otpauthUri }: SetUp) {
      print('\n   Scan this with an authenticator app (Google Authenticator, or any other):\n')
      print(await qrCode(otpauthUri))
      print('   Or enter the setup key by hand, "time based":')
      print(`\n   ${paint('bold', setupKey)}`)
    },

    async readCode() {
      print('')
      for (;;) {
        const typed = await ask(`   ${paint(['bold', 'yellow'], 'The code that the app shows:')} `)
        const code = typed.replace(/\s/g, '')
        if (/^[0-9]{6}$/.test(code)) return code
        print('   A code is six digits.')
      }
    },

    putAway: () => terminal.close()
  }

  // The end of the input (Ctrl-C, Ctrl-D, a pipe) would otherwise leave the question open for ever.
  async function ask(question: string): Promise<string> {
    try {
      return await terminal.question(question, { signal: closed.signal })
    } catch (cause) {
      throw new Error('nobody typed a code; `npm run demo -- --auto` needs no phone', { cause })
    }
  }
}

/** In the terminal's own black and white where it has colours; a camera needs the contrast. */
function qrCode(text: string): Promise<string> {
  if (hasColors) return QRCode.toString(text, { type: 'terminal', small: true })
  // Without colours the ink is the text's: swapped, so that it is right on a dark background.
  return QRCode.toString(text, { type: 'utf8', color: { dark: '#ffffff', light: '#000000' } })
}
