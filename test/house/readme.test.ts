// Compares the lists and links in README.md and the guides with the repository, because copies drift apart.
import { access, readdir, readFile } from 'node:fs/promises'
import t from 'tap'
import { Environment } from '../../src/settings/environment.ts'

const root = new URL('../../', import.meta.url)
const read = (path: string) => readFile(new URL(path, root), 'utf8')

/** Returns the rows of the tables in a text whose first cell is a key or a behaviour, each as its cells. */
function rowsOf(markdown: string): string[][] {
  const rows = markdown.split('\n').filter((line) => /^\| (`[A-Z]|B\d)/.test(line))
  return rows.map((row) =>
    row
      .split('|')
      .map((cell) => cell.replaceAll('`', '').trim())
      .slice(1, -1)
  )
}

function sectionOf(markdown: string, heading: string): string {
  const [, after = ''] = markdown.split(`\n## ${heading}\n`)
  const [section = ''] = after.split('\n## ')
  return section
}

t.test('docs/configuration.md lists the keys and the defaults of .env.example', async (t) => {
  const rows = rowsOf(await read('docs/configuration.md'))
  const example = (await read('.env.example')).matchAll(/^([A-Z_]+)=(.*)$/gm)
  const defaults = new Map(Array.from(example, ([, key = '', value = '']) => [key, value]))
  t.same(
    rows.map(([key]) => key),
    [...defaults.keys()]
  )
  for (const [key = '', shown] of rows) {
    if (defaults.get(key)) t.equal(shown, defaults.get(key), key)
  }
  for (const [key, schema] of Object.entries(Environment.properties)) {
    const { default: inCode = '' } = schema as { default?: string | number }
    if (inCode !== '') t.equal(defaults.get(key), String(inCode), `${key} in the code`)
  }
})

t.test('the README lists ten keys of docs/configuration.md with the same defaults', async (t) => {
  const all = new Map(
    rowsOf(await read('docs/configuration.md')).map(([key, fallback]) => [key, fallback])
  )
  const rows = rowsOf(sectionOf(await read('README.md'), 'Configuration'))
  t.equal(rows.length, 10)
  for (const [key = '', shown] of rows) t.equal(shown, all.get(key), key)
})

t.test('the feature table has a row for each of B1 to B13', async (t) => {
  const rows = rowsOf(sectionOf(await read('README.md'), 'What it does'))
  t.same(
    rows.map(([id]) => id),
    Array.from({ length: 13 }, (_, index) => `B${index + 1}`)
  )
})

t.test('every link between the documents leads to a file and a heading in it', async (t) => {
  const [top, inDocs] = await Promise.all([
    readdir(root),
    readdir(new URL('docs/', root), { recursive: true })
  ])
  const documents = [...top, ...inDocs.map((path) => `docs/${path}`)]
  for (const path of documents.filter((name) => name.endsWith('.md'))) {
    const links = (await read(path)).matchAll(/\]\(([^)#]*)(?:#([^)]*))?\)/g)
    for (const [, link = '', anchor] of links) {
      if (/^https?:/.test(link)) continue
      const target = new URL(link, new URL(path, root))
      await t.resolves(access(target), `${path}: ${link}`)
      if (anchor === undefined || !/\.md$/.test(target.pathname)) continue
      const anchors = anchorsOf(await readFile(target, 'utf8'))
      t.ok(anchors.includes(anchor), `${path}: ${link}#${anchor}`)
    }
  }
})

/** Returns the anchors that GitHub gives to the headings of a page. */
function anchorsOf(markdown: string): string[] {
  const withoutCode = markdown.replace(/^```[\s\S]*?^```$/gm, '')
  return Array.from(withoutCode.matchAll(/^#+ (.+)$/gm), ([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-')
  )
}
