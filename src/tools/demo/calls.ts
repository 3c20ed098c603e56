// HTTP calls over a real socket, which print each request and its response.
import { paint } from './paint.ts'

export type Print = (line: string) => void

export interface Call {
  method: 'GET' | 'POST' | 'PATCH'
  path: string
  bearer?: string
  headers?: Record<string, string>
  body?: Record<string, unknown>
}

interface Answer<Body> {
  status: number
  headers: Headers
  body: Body
}

export interface Calls {
  /** Makes a call and prints it. Accepts any status. */
  make<Body>(call: Call): Promise<Answer<Body>>
  /** Makes a call and prints it. Throws unless the response has this status. */
  expect<Body>(status: number, call: Call): Promise<Answer<Body>>
}

/** Shows ids and audiences whole, and shortens keys and JWTs. */
const SHOWN_CHARACTERS = 59
const SHORTENED_TO = 16
/** Always shortened. The demo prints the secrets that the reader needs. */
const SECRETS = new Set(['password', 'setupKey', 'recoveryCodes'])

export function createCalls(baseUrl: string, print: Print): Calls {
  async function make<Body>({ method, path, bearer, headers, body }: Call): Promise<Answer<Body>> {
    print(`\n   ${paint(['bold', 'cyan'], method)} ${paint('cyan', path)}`)
    if (bearer) print(paint('dim', `   authorization: Bearer ${shortened(bearer)}`))
    for (const [name, value] of Object.entries(headers ?? {})) {
      print(paint('dim', `   ${name}: ${value}`))
    }
    if (body) show(body)
    const response = await fetch(new URL(path, baseUrl), {
      method,
      headers: {
        ...(bearer ? { authorization: `Bearer ${bearer}` } : {}),
        ...(body ? { 'content-type': 'application/json' } : {}),
        ...headers
      },
      ...(body ? { body: JSON.stringify(body) } : {})
    })
    const answer = (await response.json()) as Body & Record<string, unknown>
    print(`   ${paint(response.ok ? 'green' : 'red', `→ ${response.status}`)}`)
    show(answer)
    return { status: response.status, headers: response.headers, body: answer }
  }

  function show(body: Record<string, unknown>): void {
    const members = Object.entries(body).map(
      ([name, value]) => `     "${name}": ${JSON.stringify(value, shortenSecrets(name))}`
    )
    for (const line of ['   {', members.join(',\n'), '   }']) print(paint('dim', line))
  }

  return {
    make,

    async expect<Body>(status: number, call: Call) {
      const answer = await make<Body>(call)
      if (answer.status === status) return answer
      throw new Error(`${call.method} ${call.path} returned ${answer.status} instead of ${status}`)
    }
  }
}

/** Returns a replacer for JSON.stringify, which passes an empty name for the outermost value. */
function shortenSecrets(member: string) {
  return (name: string, value: unknown): unknown => {
    if (SECRETS.has(name || member)) return Array.isArray(value) ? ['…'] : '…'
    // Only sentences of problems contain spaces. Keys and JWTs contain none.
    const isLong = typeof value === 'string' && value.length > SHOWN_CHARACTERS
    return isLong && !value.includes(' ') ? shortened(value) : value
  }
}

function shortened(text: string): string {
  return `${text.slice(0, SHORTENED_TO)}…`
}
