// Listens for Prometheus on a separate port. The metrics are for the operator, and a proxy that forwards public requests to
// the API does not forward them here.
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'

export interface Exposition {
  contentType: string
  /** Never throws. */
  render(): Promise<string>
}

/** A scrape is one line and a few headers. */
const REQUEST_TIMEOUT_MS = 5000
const HEADERS_LIMIT_BYTES = 8 * 1024

/** Serves `GET /metrics` and nothing else. Throws if it can't listen on the address. */
export async function listenForScrapes(
  { port, host }: { port: number; host: string },
  exposition: Exposition
): Promise<Server> {
  const server = createServer(
    { requestTimeout: REQUEST_TIMEOUT_MS, maxHeaderSize: HEADERS_LIMIT_BYTES },
    (request, response) => void respond(request, response, exposition)
  )
  server.listen(port, host)
  await once(server, 'listening')
  return server
}

async function respond(
  { method, url }: IncomingMessage,
  response: ServerResponse,
  { contentType, render }: Exposition
): Promise<void> {
  if (url !== '/metrics') {
    response.writeHead(404).end()
    return
  }
  if (method !== 'GET') {
    response.writeHead(405, { allow: 'GET' }).end()
    return
  }
  const text = await render()
  response.writeHead(200, { 'content-type': contentType, 'cache-control': 'no-store' }).end(text)
}
