// What the packages that run in production are licensed under, as package-lock.json says.

/** The part of a package-lock.json (version 3) that is read here. */
export interface Lock {
  packages: Record<string, LockedPackage>
}

interface LockedPackage {
  version?: string
  license?: string
  /** Needed for development only. */
  dev?: boolean
  /** Needed for development, and wanted optionally by something else: the production tree goes without. */
  devOptional?: boolean
}

/** Permissive licences only: they require nothing of the operator except to keep the notices of the packages. */
export const ALLOWED_LICENCES = [
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'BlueOak-1.0.0',
  'ISC',
  'MIT',
  'MIT-0'
]

/** Name, version and SPDX licence of every package that may run in production, by name. */
export function licencesOf(lock: Lock): [name: string, version: string, licence: string][] {
  const rows = Object.entries(lock.packages)
    .filter(([path, { dev, devOptional }]) => path !== '' && !dev && !devOptional)
    .map(([path, { version = '', license = 'none' }]) => {
      const [name = ''] = path.split('node_modules/').slice(-1)
      return [name, version, license] as [string, string, string]
    })
  // Two folders may hold the same version of a package.
  const distinct = new Map(rows.map((row) => [row.join(' '), row]))
  return Array.from(distinct)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([, row]) => row)
}

/** The same as a table in Markdown. */
export function licencesTable(lock: Lock): string {
  const rows = [['package', 'version', 'licence'], ['---', '---', '---'], ...licencesOf(lock)]
  return `${rows.map((cells) => `| ${cells.join(' | ')} |`).join('\n')}\n`
}
