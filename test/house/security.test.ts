// Checks that each rule in SECURITY.md names the tests that enforce it.
import { readdir, readFile } from 'node:fs/promises'
import t from 'tap'
import { SCOPES } from '../../src/core/bearer-keys.ts'

const root = new URL('../../', import.meta.url)
const read = (path: string) => readFile(new URL(path, root), 'utf8')
const testFiles = (await readdir(new URL('test/', root), { recursive: true }))
  .filter((path) => path.endsWith('.test.ts'))
  .map((path) => `test/${path}`)

/** The rows of the table of attacks: an id, and the test files that it links. */
const rows = Array.from(
  (await read('SECURITY.md')).matchAll(/^\| ([SB]\d+|) \|.*\| (.*) \|$/gm),
  ([, id = '', tests = '']) => ({
    id,
    files: Array.from(tests.matchAll(/\]\(([^)]+)\)/g), ([, file = '']) => file)
  })
)

t.test('the table has a row for each of S1 to S30, with tests that exist', async (t) => {
  const ids = rows.map(({ id }) => id).filter((id) => id.startsWith('S'))
  t.same(
    ids,
    Array.from({ length: 30 }, (_, index) => `S${index + 1}`)
  )
  for (const { id, files } of rows) {
    t.ok(files.length > 0, `a test enforces ${id}`)
    t.same(
      files.filter((file) => !testFiles.includes(file)),
      []
    )
  }
})

t.test('the table of scopes has a row for each scope', async (t) => {
  const [, section = ''] = (await read('SECURITY.md')).split('## Scopes')
  const named = Array.from(section.matchAll(/^\| `([a-z:-]+)` \|/gm), ([, scope]) => scope)
  t.same(named.sort(), [...SCOPES].sort())
})

t.test('a test whose title begins with an id is in a file that the id’s row links', async (t) => {
  const missing = []
  let titles = 0
  for (const file of testFiles) {
    for (const [, ids = ''] of (await read(file)).matchAll(/['"`](S\d+(?:, S\d+)*): /g)) {
      titles += 1
      const unlinked = ids
        .split(', ')
        .filter((id) => !rows.find((row) => row.id === id)?.files.includes(file))
      missing.push(...unlinked.map((id) => `${id}: ${file}`))
    }
  }
  t.ok(titles > 40, 'the titles are found')
  t.same(missing, [])
})
