// The list of all problems: a page for people and JSON for programs.
import { createHash } from 'node:crypto'
import escapeHtml from 'escape-html'
import { PROBLEM_CODES, problemKind } from '../../wire/problems.ts'

const STYLE =
  'body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}table{border-collapse:collapse}th,td{text-align:left;vertical-align:top;padding:.5rem;border-bottom:1px solid #ccc}'

/** Allows nothing except the style of the page. */
export const PAGE_POLICY = `default-src 'none';style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}';frame-ancestors 'none'`

/** Returns every problem with its status, title and cure, in the order of the statuses. */
export function listProblems() {
  return PROBLEM_CODES.map((code) => {
    const { status, title, cure } = problemKind(code)
    return { code, type: `urn:twostep:problem:${code}`, status, title, cure }
  })
}

const PAGE = 'text/html'
const TYPES = [PAGE, 'application/json']

/** Returns whether a client prefers a page, as browsers do. Programs accept anything or name JSON (RFC 9110 §12.5.1). */
export function prefersPage(accept = ''): boolean {
  const named = accept
    .toLowerCase()
    .split(',')
    .map((part) => part.split(';').map((text) => text.trim()))
    .filter(([type = '']) => TYPES.includes(type))
    .map(([type, ...parameters]) => ({ type, weight: weightOf(parameters) }))
    .filter(({ weight }) => weight > 0)
    .sort((one, other) => other.weight - one.weight)
  return named[0]?.type === PAGE
}

function weightOf(parameters: readonly string[]): number {
  const weight = parameters.find((parameter) => parameter.startsWith('q='))
  return weight === undefined ? 1 : Number(weight.slice(2))
}

/** Returns the list as HTML. Each problem has its code as the fragment, such as `#code-rejected`. */
export function problemsPage(): string {
  const rows = listProblems().map(
    ({ code, status, title, cure }) =>
      `<tr id="${code}"><td>${status}</td><td><code>${code}</code></td><td>${marked(title)}</td><td>${marked(cure)}</td></tr>`
  )
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Problems of twostep</title><style>${STYLE}</style></head>
<body>
<h1>Problems</h1>
<p>Every failure of the API is a problem document (RFC 9457). Its <code>code</code> is in this table. <a href="/docs">All routes</a></p>
<table>
<thead><tr><th>Status</th><th>Code</th><th>What is wrong</th><th>What to do</th></tr></thead>
<tbody>
${rows.join('\n')}
</tbody>
</table>
</body>
</html>
`
}

/** Shows words in backticks as code. */
function marked(text: string): string {
  return escapeHtml(text).replace(/`([^`]+)`/g, '<code>$1</code>')
}
