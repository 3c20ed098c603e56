// How tests read TypeScript: TypeScript compiles each file once, and the result is cached by a hash of its inputs. To
// compile the whole service again in every test process took more time than most of the tests.
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { createRequire, register } from 'node:module'
import { fileURLToPath } from 'node:url'
import { isMainThread } from 'node:worker_threads'

const require = createRequire(import.meta.url)
const root = new URL('../../', import.meta.url)
const packages = new URL('node_modules/', root)
// Next to the installed packages, like the database's template: ignored by git, and deleted by the next `npm ci`.
const cache = new URL('.cache/twostep/compiled/', packages)
const { compilerOptions } = JSON.parse(readFileSync(new URL('tsconfig.json', root), 'utf8'))
const options = {
  ...compilerOptions,
  module: 'esnext',
  // Imports keep the name of the source file, which these hooks load.
  rewriteRelativeImportExtensions: false,
  inlineSourceMap: true
}
/** The end of the URL of a test file that runs in a worker. */
const SHARED = '.test.ts?shared'
const fileTest = new URL('workers/file-test.mjs', import.meta.url)
const { version } = require('typescript/package.json')

// Node runs these hooks in a thread of their own, where this file is loaded again.
if (isMainThread) register(import.meta.url)

// A test file of a worker gets the file's own test for `tap`.
export async function resolve(specifier, context, nextResolve) {
  if (specifier !== 'tap' || !context.parentURL?.endsWith(SHARED))
    return nextResolve(specifier, context)
  const url = `${fileTest.href}?of=${encodeURIComponent(context.parentURL)}`
  return { url, format: 'module', shortCircuit: true }
}

export async function load(url, context, nextLoad) {
  if (url.startsWith(packages.href)) return loadPackage(url, context, nextLoad)
  if (!url.startsWith(root.href) || !/\.ts(\?shared)?$/.test(url)) return nextLoad(url, context)
  const { source } = await nextLoad(url, { ...context, format: 'module' })
  return { format: 'module', source: await compiled(url, String(source)), shortCircuit: true }
}

// Loads a package as Node does, but bypasses tap's recorder. The recorder would read every line of every package,
// although only src is counted.
async function loadPackage(url, context, nextLoad) {
  const { format } = context
  if (format === 'commonjs') return { format, source: null, shortCircuit: true }
  if (format !== 'module') return nextLoad(url, context)
  return { format, source: await readFile(fileURLToPath(url)), shortCircuit: true }
}

async function compiled(url, source) {
  const made = createHash('sha256').update(JSON.stringify([version, options, url, source]))
  const file = new URL(`${made.digest('hex')}.js`, cache)
  return readFile(file, 'utf8').catch(() => compile(url, source, file))
}

async function compile(url, source, file) {
  const fileName = fileURLToPath(url)
  const { outputText } = require('typescript').transpileModule(source, {
    fileName,
    compilerOptions: options
  })
  await mkdir(cache, { recursive: true })
  // Renamed once complete: other processes look for it at the same time.
  const unfinished = new URL(randomBytes(6).toString('hex'), cache)
  await writeFile(unfinished, outputText)
  await rename(unfinished, file)
  return outputText
}
