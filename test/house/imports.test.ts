// The import rules fail on the imports that they forbid: one planted import for each rule and room. An unused export fails too.
import { execFile } from 'node:child_process'
import { appendFile, cp, mkdir, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** A file of a room, what it must not import, and the rule that says so. */
const PLANTED = [
  ['core', 'wire/problems.ts', 'core-knows-nothing-of-the-project'],
  ['core', 'node:fs', 'core-does-no-io'],
  ['crypto', 'data/keys/signing-keys.ts', 'crypto-sees-rules-alone'],
  ['wire', 'plugins/problem-handling.ts', 'wire-sees-core-alone'],
  ['settings', 'data/engine/database.ts', 'settings-see-rules-and-keys'],
  ['data/engine', 'data/users/users.ts', 'the-engine-knows-no-subject'],
  ['data/trail', 'data/users/users.ts', 'the-trail-knows-no-subject'],
  ['data/policy', 'data/users/users.ts', 'policy-is-read-by-users-and-sign-ins'],
  ['data/sign-in', 'data/users/users.ts', 'sign-in-data-is-the-hot-path'],
  ['data/users', 'wire/problem.ts', 'data-sees-core-alone'],
  ['data/accounts', 'settings/config.ts', 'data-sees-core-alone'],
  ['data/keys', 'data/users/users.ts', 'stored-keys-stand-alone'],
  ['audit', 'data/trail/audit-events.ts', 'only-app-wires'],
  ['sign-in', 'audit/audit.ts', 'only-app-wires'],
  ['sso', 'data/sign-in/sso-identities.ts', 'only-app-wires'],
  ['plugins', 'data/sign-in/subjects.ts', 'only-app-wires'],
  ['delivery/mail', 'data/trail/outbox.ts', 'only-app-wires'],
  ['delivery/mail', 'generated/prisma/client.ts', 'only-data-knows-the-database'],
  ['plugins', 'routes/sign-in/login.ts', 'nothing-below-knows-routes'],
  ['sign-in', 'routes/sign-in/login.ts', 'nothing-below-knows-routes'],
  ['routes/sign-in', 'sign-in/judging.ts', 'routes-see-words-and-rules'],
  ['routes/users', 'settings/config.ts', 'routes-see-words-and-rules'],
  ['commands', 'tools/demo.ts', 'tools-stay-with-developers'],
  ['data/users', 'app.ts', 'nothing-reaches-up']
] as const

async function copySource(t: Test, settings: string): Promise<string> {
  const folder = t.testdir()
  await cp(join(root, 'src'), join(folder, 'src'), { recursive: true })
  for (const name of ['node_modules', 'tsconfig.json', 'package.json', settings]) {
    await symlink(join(root, name), join(folder, name))
  }
  return folder
}

/** Plants a file for each case into a copy of src, and returns the violations as `file: rule`. */
async function plantAll(t: Test): Promise<string[]> {
  const folder = await copySource(t, '.dependency-cruiser.mjs')
  for (const [index, [room, imported]] of PLANTED.entries()) {
    const file = join(folder, plantedFile(room, index))
    await mkdir(dirname(file), { recursive: true })
    const up = '../'.repeat(room.split('/').length)
    const specifier = imported.startsWith('node:') ? imported : `${up}${imported}`
    await writeFile(file, `import * as planted from '${specifier}'\nexport { planted }\n`)
  }
  const command = join(root, 'node_modules/.bin/depcruise')
  const options = { cwd: folder, maxBuffer: 64 * 1024 * 1024 }
  const run = promisify(execFile)(command, ['src', '--output-type', 'json'], options)
  // The exit code is the number of violations.
  const { stdout } = await run.catch((error: { stdout: string }) => error)
  const { summary } = JSON.parse(stdout) as {
    summary: { violations: { from: string; rule: { name: string } }[] }
  }
  return summary.violations.map(({ from, rule }) => `${from}: ${rule.name}`)
}

const plantedFile = (room: string, index: number) => `src/${room}/planted-${index}.ts`

t.test('each rule rejects an import that was planted in its room', async (t) => {
  const violations = await plantAll(t)
  for (const [index, [room, imported, rule]] of PLANTED.entries()) {
    const expected = `${plantedFile(room, index)}: ${rule}`
    t.ok(violations.includes(expected), `${room} must not import ${imported}: ${rule}`)
  }
})

t.test('an export that no file imports is reported', async (t) => {
  const folder = await copySource(t, 'knip.json')
  await appendFile(join(folder, 'src/core/totp.ts'), '\nexport const planted = 1\n')
  const command = join(root, 'node_modules/.bin/knip')
  const run = promisify(execFile)(command, ['--no-progress'], { cwd: folder })
  const { stdout } = await run.catch((error: { stdout: string }) => error)
  t.match(stdout, /^planted +src\/core\/totp\.ts/m)
})
