// What package.json and compose.yaml pass on: scripts that run in every shell, and every setting.
import { readFile } from 'node:fs/promises'
import t from 'tap'
import { parse } from 'yaml'
import { Environment } from '../../src/settings/environment.ts'

const read = (path: string) => readFile(new URL(`../../${path}`, import.meta.url), 'utf8')

t.test('every script runs in the shells of Linux, macOS and Windows', async (t) => {
  const { scripts } = JSON.parse(await read('package.json')) as { scripts: Record<string, string> }
  for (const [name, script] of Object.entries(scripts)) {
    for (const command of script.split('&&').map((part) => part.trim())) {
      t.notMatch(command.replace(/".*"/, ''), /^exec\b|^[A-Z_]+=|[;|$'`]/, `${name}: ${command}`)
    }
  }
})

t.test('compose.yaml passes on every setting', async (t) => {
  const { services } = parse(await read('compose.yaml')) as {
    services: { twostep: { environment: Record<string, string> } }
  }
  const { environment } = services.twostep
  // The image sets these.
  const own = ['NODE_ENV', 'PORT', 'HOST']
  t.same(
    Object.keys(Environment.properties).filter((key) => !own.includes(key) && !environment[key]),
    []
  )
})
