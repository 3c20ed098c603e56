// Writes the table in docs/licences.md from package-lock.json.
import { readFile, writeFile } from 'node:fs/promises'
import { licencesTable } from './licences/table.ts'

const root = new URL('../../', import.meta.url)
const page = new URL('docs/licences.md', root)
const lock = JSON.parse(await readFile(new URL('package-lock.json', root), 'utf8'))
const text = await readFile(page, 'utf8')
await writeFile(
  page,
  text.replace(/(<!-- table -->\n)[\s\S]*(<!-- end -->)/, `$1\n${licencesTable(lock)}\n$2`)
)
