import QRCode from 'qrcode'

/** Returns a QR code of the text as a base64 data URI. */
export async function qrCodeOf(text: string, format: 'svg' | 'png'): Promise<string> {
  if (format === 'png') return QRCode.toDataURL(text, { type: 'image/png' })
  const svg = await QRCode.toString(text, { type: 'svg' })
  return `data:image/svg+xml;base64,${Buffer.from(svg).toString('base64')}`
}
