// The licences of what runs in production: all known, all permissive, all listed.
import { readFile } from 'node:fs/promises'
import t from 'tap'
import {
  ALLOWED_LICENCES,
  type Lock,
  licencesOf,
  licencesTable
} from '../../src/tools/licences/table.ts'

const read = (path: string) => readFile(new URL(`../../${path}`, import.meta.url), 'utf8')
const lock: Lock = JSON.parse(await read('package-lock.json'))

t.test('every package that runs in production has a licence on the list', async (t) => {
  const licences = licencesOf(lock)
  t.ok(licences.some(([name]) => name === 'fastify'))
  t.notOk(licences.some(([name]) => name === 'typescript' || name === 'prisma'))
  t.same(
    licences.filter(([, , licence]) => !ALLOWED_LICENCES.includes(licence)),
    []
  )
})

t.test('a package that declares no licence is not overlooked', async (t) => {
  const path = 'node_modules/one/node_modules/@scope/two'
  t.same(licencesOf({ packages: { '': {}, [path]: { version: '1.0.0' } } }), [
    ['@scope/two', '1.0.0', 'none']
  ])
})

t.test('the table in the docs is made from package-lock.json', async (t) => {
  t.ok((await read('docs/licences.md')).includes(licencesTable(lock)), 'npm run licences')
})
