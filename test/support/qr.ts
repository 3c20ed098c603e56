import jsqr from 'jsqr'
import { PNG } from 'pngjs'

/** Reads a QR code from a PNG in a data URI, as a camera does. */
export function readQrCode(dataUri: string): string {
  const [, base64 = ''] = /^data:image\/png;base64,(.+)$/.exec(dataUri) ?? []
  const { data, width, height } = PNG.sync.read(Buffer.from(base64, 'base64'))
  const found = jsqr.default(new Uint8ClampedArray(data), width, height)
  if (!found) throw new Error('no QR code found')
  return found.data
}
