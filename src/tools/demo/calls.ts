// HTTP calls as the demo makes them: over the socket, and shown as they go.
import { paint } from './paint.ts'

export type Print = (line: string) => void

export interface Call {
  method: 'GET' | 'POST' | 'PATCH'
  path: string
  bearer?: string
  headers?: Record<string, string>
  body?: Record<string, unknown>
}

export interface Answer<Body> {
  status: number
  headers: Headers
  body: Body
}

export interface Calls {
  /** Makes a call and shows it, whatever the answer. */
  make<Body>(call: Call): Promise<Answer<Body>>
  /** The same; throws unless the answer has this status. */
  expect<Body>(status: number, call: Call): Promise<Answer<Body>>
}

/** Longer than an id or an audience; keys and JWTs are longer still. */
const SHOWN_CHARACTERS = 59
const SHORTENED_TO = 16
/** Never shown whole, however short. What the demo wants seen, it prints itself. */
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
      throw new Error(
        `${call.method} ${call.path} should answer ${status}, and answered ${answer.status}`
      )
    }
  }
}

/** A replacer for JSON.stringify, which calls it with an empty name for the outermost value. */
function shortenSecrets(member: string) {
  return (name: string, value: unknown): unknown => {
    if (SECRETS.has(name || member)) return Array.isArray(value) ? ['…'] : '…'
    // Problems explain themselves in sentences, which have spaces; keys and JWTs have none.
    const isLong = typeof value === 'string' && value.length > SHOWN_CHARACTERS
    return isLong && !value.includes(' ') ? shortened(value) : value
  }
}

function shortened(text: string): string {
  return `${text.slice(0, SHORTENED_TO)}…`
}
