// Ends the process with one line if this Node is not supported. Every program imports this file first, because the other files
// fail on an old Node with errors that do not name it. prisma/generate.mjs does the same before a build.
import { readFileSync } from 'node:fs'

const manifest: { engines: { node: string } } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
)

/** Returns the reason why this version of Node cannot run the service, in one line; null if it can. */
export function refusalOf(version: string): string | null {
  const range = manifest.engines.node
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const isSupported = Array.from(range.matchAll(/(\^|>=)(\d+)\.?(\d*)/g)).some(
    ([, operator, least, leastMinor]) =>
      (operator === '>=' && major > Number(least)) ||
      (major === Number(least) && minor >= Number(leastMinor))
  )
  return isSupported ? null : `twostep needs Node ${range}, and this is Node ${version}`
}

const refusal = refusalOf(process.versions.node)
if (refusal !== null) {
  process.stderr.write(`${refusal}\n`)
  process.exit(1)
}
