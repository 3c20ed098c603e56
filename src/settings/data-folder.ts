// The folder in which a start outside production keeps the embedded database, its keys and its mails.

const DEFAULT_DATA_FOLDER = './data'
export const DEFAULT_DATABASE_URL = `pglite:${DEFAULT_DATA_FOLDER}`

/** Returns the folder of the embedded database, or `./data` next to a database server. */
export function dataFolderOf(databaseUrl = DEFAULT_DATABASE_URL): string {
  return databaseUrl.startsWith('pglite:')
    ? databaseUrl.slice('pglite:'.length)
    : DEFAULT_DATA_FOLDER
}
