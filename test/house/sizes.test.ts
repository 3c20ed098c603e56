// Limits on the size of files, functions and folders, so that each fits into one reading.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import ts from 'typescript'

const root = fileURLToPath(new URL('../../', import.meta.url))
const SOURCE_LINES_MAX = 300
const TEST_LINES_MAX = 400
const APP_LINES_MAX = 149
/** The maximum for a function, without the lines of the functions inside it. */
const FUNCTION_LINES_MAX = 60
const FOLDER_FILES_MAX = 14
const GENERATED = /^src\/generated\/|^test\/support\/client\.d\.ts$/

async function filesIn(folder: string): Promise<string[]> {
  const names = await Promise.all(
    ['src', 'test'].map(async (top) => {
      const inside = await readdir(join(folder, top), { recursive: true })
      return inside.map((name) => `${top}/${name}`)
    })
  )
  return names.flat().filter((path) => path.endsWith('.ts') && !GENERATED.test(path))
}

/** Returns everything in src and test of a folder that is too large, as `path: reason`. */
async function oversizes(folder: string): Promise<string[]> {
  const paths = await filesIn(folder)
  const ofFiles = paths.map(async (path) => {
    const text = await readFile(join(folder, path), 'utf8')
    const reasons = [...oversizeOfFile(path, text), ...oversizeFunctions(path, text)]
    return reasons.map((reason) => `${path}: ${reason}`)
  })
  return [...(await Promise.all(ofFiles)).flat(), ...oversizeFolders(paths)]
}

function oversizeOfFile(path: string, text: string): string[] {
  const lines = text.trimEnd().split('\n').length
  const isSource = path.startsWith('src/')
  // A file may be longer if its first comment gives the reason.
  if (isSource && /\bOne file\b/.test(/^(?:\/\/.*\n)+/.exec(text)?.[0] ?? '')) return []
  const ofSource = path === 'src/app.ts' ? APP_LINES_MAX : SOURCE_LINES_MAX
  const max = isSource ? ofSource : TEST_LINES_MAX
  return lines > max ? [`${lines} lines, at most ${max}`] : []
}

function oversizeFunctions(path: string, text: string): string[] {
  // A test is one scenario from start to end, of any length.
  if (!path.startsWith('src/')) return []
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.ES2023, true)
  const found: string[] = []
  const lineOf = (position: number) => file.getLineAndCharacterOfPosition(position).line
  const breaksOf = (node: ts.Node) => lineOf(node.end) - lineOf(node.getStart(file))

  /** Returns the line breaks inside the functions in a node, each of which is measured on its own. */
  function measureInside(node: ts.Node): number {
    let breaks = 0
    ts.forEachChild(node, (child) => {
      const inside = measureInside(child)
      if (!ts.isFunctionLike(child)) {
        breaks += inside
        return
      }
      const own = breaksOf(child) + 1 - inside
      if (own > FUNCTION_LINES_MAX) {
        const at = lineOf(child.getStart(file)) + 1
        found.push(
          `function at line ${at} has ${own} lines of its own, at most ${FUNCTION_LINES_MAX}`
        )
      }
      breaks += breaksOf(child)
    })
    return breaks
  }

  measureInside(file)
  return found
}

function oversizeFolders(paths: string[]): string[] {
  const counts = new Map<string, number>()
  for (const path of paths.filter((name) => name.startsWith('src/'))) {
    counts.set(dirname(path), (counts.get(dirname(path)) ?? 0) + 1)
  }
  return [...counts]
    .filter(([, count]) => count > FOLDER_FILES_MAX)
    .map(([folder, count]) => `${folder}: ${count} files, at most ${FOLDER_FILES_MAX}`)
}

t.test('files, functions and folders are small', async (t) => {
  t.ok((await filesIn(root)).length > 250, 'the files are found')
  t.same(await oversizes(root), [])
})

t.test('everything that is too large is found', async (t) => {
  const folder = t.testdir()
  const lines = (count: number) => 'call()\n'.repeat(count)
  const planted = {
    'src/app.ts': lines(150),
    'src/long.ts': lines(301),
    'src/full.ts': lines(300),
    'src/reason.ts': `// A table. One file, because its rows refer to each other.\n${lines(301)}`,
    'test/long.test.ts': lines(401),
    'test/full.test.ts': lines(400),
    'src/function.ts': `function long() {\n${lines(59)}}\n`,
    'src/arrow.ts': `const short = () => {\n${lines(58)}}\n`,
    'src/nested.ts': `function outer() {\n${lines(30)}const inner = () => {\n${lines(40)}}\n}\n`,
    ...Object.fromEntries(
      Array.from({ length: 15 }, (_, index) => [`src/crowded/${index}.ts`, lines(1)])
    ),
    'src/generated/client.ts': lines(1000)
  }
  for (const [path, text] of Object.entries(planted)) {
    await mkdir(dirname(join(folder, path)), { recursive: true })
    await writeFile(join(folder, path), text)
  }
  t.same((await oversizes(folder)).sort(), [
    'src/app.ts: 150 lines, at most 149',
    'src/crowded: 15 files, at most 14',
    'src/function.ts: function at line 1 has 61 lines of its own, at most 60',
    'src/long.ts: 301 lines, at most 300',
    'test/long.test.ts: 401 lines, at most 400'
  ])
})
