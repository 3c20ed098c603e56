// Programs of the operating system that single tests need. CI has all of them (.ci/run installs them).
import { spawnSync } from 'node:child_process'

/** Returns the options of a test that needs these programs: it is skipped if one is missing, but never in CI. */
export function withBinaries(...names: string[]): { skip: string | false } {
  const missing = names.filter((name) => spawnSync('which', [name]).status !== 0)
  return {
    skip: missing.length > 0 && !process.env['CI'] ? `needs ${missing.join(' and ')}` : false
  }
}
