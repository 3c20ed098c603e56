// Commands that only read must not create a database or keys.
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { readStorageConfig } from '../../src/settings/existing-config.ts'
import { readOrMakeKeys } from '../../src/settings/local-keys.ts'
import { COMPLETE } from './refusals.ts'

t.test(
  'throws: the folder has no database or no keys, and the command makes neither',
  async (t) => {
    const folder = t.testdir()
    const env = { DATABASE_URL: `pglite:${folder}`, MASTER_KEYS: COMPLETE.MASTER_KEYS }
    t.throws(() => readStorageConfig(env), { message: `there is no database in ${folder}` })
    t.throws(() => readStorageConfig({ ...env, MASTER_KEYS: '' }), { message: /no local keys in/ })
    t.throws(() => readStorageConfig({ ...env, MASTER_KEYS: 'x' }), { name: 'ConfigError' })
    t.same(await readdir(folder), [])
  }
)

t.test('a command needs no operator key', async (t) => {
  const onServer = { DATABASE_URL: 'postgresql://127.0.0.1:1/x', OPERATOR_KEY: '' }
  const { databaseUrl, masterKeys } = readStorageConfig({ ...COMPLETE, ...onServer })
  t.equal(databaseUrl, 'postgresql://127.0.0.1:1/x')
  t.equal(masterKeys[0].id, 'k1')
})

t.test('throws: in production, the environment must have the database and the keys', async (t) => {
  const keys = ['DATABASE_URL', 'MASTER_KEYS'] as const
  for (const key of keys) {
    t.throws(() => readStorageConfig({ ...COMPLETE, [key]: '' }), { name: 'ConfigError' }, key)
  }
})

t.test('the keys of the data folder are used where the environment has none', async (t) => {
  const folder = t.testdir({ pg: {} })
  const env = { DATABASE_URL: `pglite:${folder}` }
  readOrMakeKeys(folder)
  t.equal(readStorageConfig(env).masterKeys[0].id, 'local')
  await writeFile(join(folder, 'keys.json'), 'hunter2 hunter2')
  const file = join(folder, 'keys.json')
  t.throws(() => readStorageConfig(env), { name: 'ConfigError', message: `${file} is not JSON` })
})
