// Checks that the guides quote only log messages that the service writes, because operators search for them.
import { readdir, readFile } from 'node:fs/promises'
import t from 'tap'

const root = new URL('../../', import.meta.url)

async function textsIn(folder: string, suffix: string): Promise<string[]> {
  const names = await readdir(new URL(folder, root), { recursive: true })
  const paths = names.filter((name) => name.endsWith(suffix))
  return Promise.all(paths.map((name) => readFile(new URL(`${folder}${name}`, root), 'utf8')))
}

/** Returns the quotation after each "log says", and the name of the job after it. */
function quotedIn(text: string): string[] {
  return Array.from(
    text.matchAll(
      /\blogs?\s+(?:says?|shows?|contains?)\s+`([^`]+)`(?:\s+with\s+the\s+job\s+`([^`]+)`)?/g
    ),
    ([, message = '', job]) => (job ? [message, job] : [message])
  ).flat()
}

t.test('every log message in docs is written by src', async (t) => {
  const quoted = (await textsIn('docs/', '.md')).flatMap(quotedIn)
  t.ok(quoted.includes('mail delivery failing'), 'the quotations are found')
  const source = (await textsIn('src/', '.ts')).join('\n')
  t.same(
    quoted.filter((message) => !source.includes(`'${message}'`)),
    []
  )
})

t.test('a quotation is found across a line break', async (t) => {
  const text = 'The log says\n`one failed` with the job `two`. The log says `three`.'
  t.same(quotedIn(text), ['one failed', 'two', 'three'])
})
