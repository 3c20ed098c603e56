// What the README says that the repository can check: a list that is kept twice is wrong once.
import { access, readdir, readFile } from 'node:fs/promises'
import t from 'tap'

const root = new URL('../../', import.meta.url)
const read = (path: string) => readFile(new URL(path, root), 'utf8')

/** The rows of the tables under a heading, each as its cells. */
function rowsUnder(markdown: string, heading: string): string[][] {
  const [, after = ''] = markdown.split(`\n## ${heading}\n`)
  const [section = ''] = after.split('\n## ')
  const rows = section.split('\n').filter((line) => /^\| (`|B\d)/.test(line))
  return rows.map((row) =>
    row
      .split('|')
      .map((cell) => cell.replaceAll('`', '').trim())
      .slice(1, -1)
  )
}

t.test('the configuration table lists the keys and the defaults of .env.example', async (t) => {
  const rows = rowsUnder(await read('README.md'), 'Configuration')
  const example = (await read('.env.example')).matchAll(/^([A-Z_]+)=(.*)$/gm)
  const defaults = new Map(Array.from(example, ([, key = '', value = '']) => [key, value]))
  t.same(
    rows.map(([key]) => key),
    [...defaults.keys()]
  )
  for (const [key = '', shown] of rows) {
    if (defaults.get(key)) t.equal(shown, defaults.get(key), key)
  }
})

t.test('the feature table has a row for each of B1 to B13', async (t) => {
  const rows = rowsUnder(await read('README.md'), 'What works today')
  t.same(
    rows.map(([id]) => id),
    Array.from({ length: 13 }, (_, index) => `B${index + 1}`)
  )
})

t.test('every link between the documents leads to a file', async (t) => {
  const inDocs = (await readdir(new URL('docs/', root), { recursive: true })).map(
    (path) => `docs/${path}`
  )
  const documents = [
    'README.md',
    'CHANGELOG.md',
    'CONTRIBUTING.md',
    'RELEASING.md',
    'SECURITY.md',
    ...inDocs
  ]
  for (const path of documents.filter((name) => name.endsWith('.md'))) {
    for (const [, link = ''] of (await read(path)).matchAll(/\]\(([^)#]+)[^)]*\)/g)) {
      if (/^https?:/.test(link)) continue
      await t.resolves(access(new URL(link, new URL(path, root))), `${path}: ${link}`)
    }
  }
})
