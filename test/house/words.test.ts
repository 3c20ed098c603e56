// The prose of the repository is plain English: the words that words.ts lists don't come back.
import { readdir, readFile } from 'node:fs/promises'
import t from 'tap'
import { describe, findWords } from './words.ts'

const root = new URL('../../', import.meta.url)

/** Folders and files whose prose users, operators and contributors read. */
const FOLDERS = ['src', 'docs', 'kit', 'test', 'bench']
/** These two name the words. */
const WORD_LIST = ['test/house/words.ts', 'test/house/words.test.ts']
const FILES = [
  'README.md',
  'SECURITY.md',
  'CONTRIBUTING.md',
  'RELEASING.md',
  'CHANGELOG.md',
  'openapi.yaml',
  'prisma/schema.prisma'
]
const PROSE = /\.(?:ts|md|yaml|json)$/

async function filesIn(folder: string): Promise<string[]> {
  const inside = await readdir(new URL(`${folder}/`, root), { recursive: true }).catch(() => [])
  return inside
    .map((path) => `${folder}/${path}`)
    .filter(
      (path) =>
        PROSE.test(path) && !/node_modules|^src\/generated|^test\/support\/client/.test(path)
    )
    .filter((path) => !WORD_LIST.includes(path))
}

const found = (path: string, text: string) => findWords(path, text).map((hit) => hit.found)

t.test('no file contains a word that plain English replaces', async (t) => {
  const paths = [...FILES, ...(await Promise.all(FOLDERS.map(filesIn))).flat()]
  t.ok(paths.length > 120, 'the files are found')
  for (const path of paths) {
    const text = await readFile(new URL(path, root), 'utf8')
    t.same(describe(path, findWords(path, text)), [], path)
  }
})

t.test('a planted word is found, with its line and its replacement', async (t) => {
  t.same(describe('docs/a.md', findWords('docs/a.md', 'Fine.\n\nAsk whoever runs it.')), [
    'docs/a.md:3: "whoever": name the subject (the caller, the user, an admin, this replica)'
  ])
  for (const [text, word] of [
    ['The user is\nnot told.', 'told'],
    ['The token is dead.', 'dead'],
    ['Tokens expire at\n  once.', 'at once'],
    ['A reset kills tokens.', 'kills'],
    ['> The audit is on\n> record.', 'on record'],
    ['The code is good once.', 'good once'],
    ['Devices are trusted no more.', 'no more'],
    ['It shows what is due.', 'what is'],
    ['- **Who has the key** reads everything.', 'Who'],
    ['The event has no seal yet.', 'no seal'],
    ['The enrolments expire.', 'enrolments']
  ] as const) {
    t.same(found('README.md', text), [word], text)
  }
})

t.test('in code, comments and texts are checked', async (t) => {
  for (const text of [
    '// The caller hears of it.',
    '/** Returns a token. The caller\n * hears of it. */\nexport const one = 1',
    'call() // the caller hears of it',
    "log('the caller hears of it')",
    "log('the caller ' +\n  'hears of it')",
    `log(\`the \${caller} hears of \${one}\`)`
  ]) {
    t.same(found('src/a.ts', text), ['hears'], text)
  }
  t.same(found('prisma/schema.prisma', '/// Of a reset\n/// of before.'), ['of before'])
})

t.test('names, paths and proper meanings are left alone', async (t) => {
  for (const [path, text] of [
    ['src/a.ts', "import { hears } from './hears.ts'\nhears(answers, told)"],
    ['src/a.ts', "if (reason === 'dead-credential') return"],
    ['src/a.ts', 'const text = at + once'],
    ['src/a.ts', 'return /hears|tells/.test(text)'],
    ['src/core/sealing.ts', '// Secrets are sealed to their row.'],
    ['README.md', 'Stop it with `kill -9`: a killed process loses nothing. It is no dead end.'],
    ['README.md', 'See [abuse/kill](test/abuse/kill.test.ts).'],
    ['README.md', 'What is two-factor?\n\nWho may reset a user? An admin, and no more than ten.'],
    ['README.md', 'The problem states what is wrong. It is good practice. As of now it stands.'],
    ['README.md', '| who signs in | result |\n|---|---|\n| a user | Works. |'],
    ['README.md', '- **The user** who has an authenticator confirms it.']
  ] as const) {
    t.same(found(path, text), [], text)
  }
  t.same(found('src/audit/chaining.ts', '// Events are sealed in order.'), ['sealed'])
})
