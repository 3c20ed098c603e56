// The URL of a PostgreSQL server. Its errors never quote it, because it may contain a password.

/** Parameters of other drivers, which this one would ignore. */
const IGNORED: Readonly<Record<string, string>> = {
  schema: 'set search_path for the role instead: ALTER ROLE … SET search_path = …',
  connection_limit: 'every replica uses at most ten connections',
  pgbouncer: 'see docs/scale.md on PgBouncer'
}

/** Throws an error that names DATABASE_URL and the cause, if the service could not use the URL as it is meant. */
export function requirePostgresqlUrl(url: string): void {
  const [, authority = ''] = /^[a-z]+:\/\/([^/?#]*)/i.exec(url) ?? []
  const hosts = authority.slice(authority.lastIndexOf('@') + 1)
  if (hosts.includes(','))
    throw new Error('DATABASE_URL names several hosts; name one, such as a virtual address')
  if (!URL.canParse(url) || new URL(url).hash !== '')
    throw new Error('DATABASE_URL is no URL; write # as %23, / as %2F and @ as %40 in the password')
  const { pathname, searchParams } = new URL(url)
  if (!/^\/[^/]+$/.test(pathname))
    throw new Error('DATABASE_URL must name a database, as in postgresql://user@host:5432/twostep')
  for (const [name, cure] of Object.entries(IGNORED)) {
    if (searchParams.has(name)) throw new Error(`DATABASE_URL has the parameter ${name}; ${cure}`)
  }
}
