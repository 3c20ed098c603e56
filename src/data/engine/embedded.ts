import { mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { PGlite } from '@electric-sql/pglite'
import { PrismaPGlite } from 'pglite-prisma-adapter'
import type { Engine } from './engine.ts'
import { lockFolder } from './folder-lock.ts'
import type { Statement } from './statements.ts'

/**
 * Opens the database in `<folder>/pg` and creates it if it is missing, which takes seconds. An acknowledged write
 * survives a crash of the process, but not of the machine: PGlite never flushes the disk. Throws if another process has
 * the folder open.
 */
export async function openEmbedded(folder: string): Promise<Engine> {
  if (!folder) throw new Error('DATABASE_URL must name a folder after pglite:, as in pglite:./data')
  const path = join(resolve(folder), 'pg')
  // Secrets are sealed, but addresses and password hashes are not. Other users of the machine must not read them.
  await mkdir(path, { recursive: true, mode: 0o700 })
  const unlock = await lockFolder(resolve(folder))
  try {
    const engine = embeddedEngine(await PGlite.create({ dataDir: path }))
    return { ...engine, close: () => engine.close().finally(unlock) }
  } catch (cause) {
    await unlock()
    const reason = cause instanceof Error ? cause.message : cause
    // PGlite does not name the most likely cause: the files belong to another major version.
    throw new Error(`the database in ${path} can't be opened: ${reason}`, { cause })
  }
}

/** Returns an engine on a loaded instance. The engine's `close` closes the instance. */
export function embeddedEngine(pglite: PGlite): Engine {
  const adapter = new PrismaPGlite(pglite)
  const runScript = async (sql: string) => {
    await pglite.exec(sql)
  }
  return {
    name: 'pglite',
    adapter,
    query: async <Row, Input>({ text, valuesOf }: Statement<Input>, input: Input) => {
      return (await pglite.query<Row>(text, valuesOf(input))).rows
    },
    ping: () => runScript('SELECT 1'),
    poolUse: () => null,
    withMigrationConnection: (work) => work({ adapter, runScript }),
    // The folder's lock has excluded other processes since the start.
    exclusively: (work) => work(),
    close: () => pglite.close()
  }
}
