// A real phone: the terminal shows the QR code, and the person types the code.
import { createInterface } from 'node:readline/promises'
import QRCode from 'qrcode'
import type { Print } from './calls.ts'
import { hasColors, paint } from './paint.ts'
import type { Phone, SetUp } from './phone.ts'

interface Terminal {
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
      print('   Or enter this setup key by hand, and choose "time based":')
      print(`\n   ${paint('bold', setupKey)}`)
    },

    async readCode() {
      print('')
      for (;;) {
        const typed = await ask(
          `   ${paint(['bold', 'yellow'], 'Enter the code that the app shows:')} `
        )
        const code = typed.replace(/\s/g, '')
        if (/^[0-9]{6}$/.test(code)) return code
        print('   A code is six digits.')
      }
    },

    putAway: () => terminal.close()
  }

  // At the end of the input (Ctrl-C, Ctrl-D, a pipe) the question would otherwise never settle.
  async function ask(question: string): Promise<string> {
    try {
      return await terminal.question(question, { signal: closed.signal })
    } catch (cause) {
      throw new Error('no code was entered; `npm run demo -- --auto` needs no phone', { cause })
    }
  }
}

/** Returns the QR code in black and white if the terminal has colours, because a camera needs the contrast. */
function qrCode(text: string): Promise<string> {
  if (hasColors) return QRCode.toString(text, { type: 'terminal', small: true })
  // Without colours the modules have the colour of the text. Swapped, they are right on a dark background.
  return QRCode.toString(text, { type: 'utf8', color: { dark: '#ffffff', light: '#000000' } })
}
