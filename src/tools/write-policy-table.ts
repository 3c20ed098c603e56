// Writes the table in docs/policy.md from the decision in src/core/policy.ts.
import { readFile, writeFile } from 'node:fs/promises'
import { policyTable } from './policy-table/table.ts'

const page = new URL('../../docs/policy.md', import.meta.url)
const text = await readFile(page, 'utf8')
await writeFile(
  page,
  text.replace(/(<!-- table -->\n)[\s\S]*(<!-- end -->)/, `$1\n${policyTable()}\n$2`)
)
