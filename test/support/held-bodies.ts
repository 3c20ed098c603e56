// Sends a request whose body is held back, so that something can happen while the request is under way.
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

export interface HeldRequest {
  method: string
  as: string
  headers?: Record<string, string> | undefined
  body: string
  /** How long the last byte of the body is held back before `meanwhile`. */
  heldMs: number
}

/** Sends the last byte of the body only after `meanwhile`. Returns the status and the code of the problem. */
export async function sendHeld(
  url: string,
  { method, as, headers, body, heldMs }: HeldRequest,
  meanwhile: () => unknown
): Promise<string> {
  const sent = request(url, {
    method,
    headers: {
      authorization: `Bearer ${as}`,
      'content-type': 'application/json',
      'content-length': body.length,
      ...headers
    }
  })
  const responded = once(sent, 'response')
  sent.write(body.slice(0, -1))
  await sleep(heldMs)
  await meanwhile()
  sent.end(body.slice(-1))
  const [response] = (await responded) as [IncomingMessage]
  let text = ''
  for await (const part of response) text += part
  return `${response.statusCode} ${JSON.parse(text).code ?? ''}`.trim()
}
