// The words that plain English replaces. Prose is checked: documents, and in code the comments and the texts.
// From a shell: node --import=./test/support/typescript.mjs test/house/words.ts FILE…
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

export interface Hit {
  line: number
  found: string
  /** What to write in its place. */
  instead: string
}

interface Rule {
  /** A regular expression between word boundaries. A space stands for any white space, a line break too. */
  words: string
  instead: string
  /** The only files in which the words are wrong; all files when absent. */
  files?: RegExp
}

const SUBJECT = 'name the subject (the caller, the user, an admin, this replica)'
const RULES: Rule[] = [
  { words: 'whoever|whomever|nobody|no one|somebody|anybody|everybody', instead: SUBJECT },
  { words: 'those (?:that|who|whom|which)', instead: SUBJECT },
  // Inside a sentence, and at the start of a sentence that is not a question.
  { words: '(?:for|of|by|to|from|than) who', instead: SUBJECT },
  { words: '(?<=(?:^|[-.:;|>\\0])\\s*(?:\\*\\*)?)who(?= [^.?|]{3,}\\.)', instead: SUBJECT },
  { words: 'what (?:is|was|are|were)(?! wrong)(?![^.]{0,80}\\?)', instead: SUBJECT },
  { words: 'answers|answered|answering', instead: 'returns, responds or responses' },
  { words: 'hears?', instead: 'receives' },
  { words: 'tells', instead: 'returns, shows, reports or notifies' },
  { words: 'told', instead: 'is notified, receives an e-mail; told apart: distinguished' },
  { words: 'mend(?:s|ed|ing)?', instead: 'fix' },
  { words: 'heed(?:s|ed|ing)?', instead: 'follow, respect or use' },
  { words: 'at once', instead: 'immediately, or at the same time' },
  { words: 'anew|afresh|once more', instead: 'again' },
  { words: '(?:of|from) before', instead: 'earlier, or issued before …' },
  { words: '(?<!as )of now', instead: 'current' },
  { words: 'no more(?! than\\b| \\w+s\\b)', instead: 'no longer' },
  { words: 'of (?:ours|theirs)', instead: 'one of our …, one of their …' },
  { words: 'amid', instead: 'during' },
  { words: 'beside', instead: 'next to, or in addition to' },
  { words: 'but for|save (?:where|when|for|that)', instead: 'except, unless or only' },
  {
    words: 'good (?:for|once|until|again)|(?:not|no|any) good|as good as',
    instead: 'valid, accepted, or invalid, rejected'
  },
  { words: '(?:is|are|was|be) good(?! \\w)', instead: 'is valid, or is accepted' },
  { words: 'dead(?! end)', instead: 'invalid, expired or revoked; a process: no longer running' },
  { words: 'kill(?:s|ed|ing)?', instead: 'revoke, invalidate or end' },
  {
    words:
      '(?:tokens?|codes?|keys?|credentials?|authenticators?|sessions?) (?:dies?|died|lives?|lived)',
    instead: 'expires, is revoked, or is valid for …'
  },
  {
    words: '(?:takes?|took|ends?|ended|ending) the trust',
    instead: 'revoke the trusted device'
  },
  { words: 'turn(?:s|ed|ing)? away', instead: 'reject' },
  { words: 'dut(?:y|ies)', instead: 'is required for, or is enforced' },
  {
    words: '(?:held|holds?|holding) (?:\\w+ )?up',
    instead: 'block or delay; grace period: users may still sign in without two-factor'
  },
  { words: 'the word of', instead: 'an assertion from' },
  { words: 'on (?:the )?record', instead: 'recorded, audited, or in the audit trail' },
  { words: '(?:the|its|their) record', instead: 'the audit trail, or the audit event' },
  { words: 'enrol(?:s|ments?)?', instead: 'enrollment (API and code), set-up (prose for people)' },
  { words: 'come in together|parallel ones', instead: 'concurrent requests, or a race' },
  // "Seal" means to encrypt a secret, which is a verb. As a noun, or with events, it is a link of the audit chain.
  {
    words:
      '(?:an?|the|its|their|no|each|every|by|of) seals?|seal\\w* (?:\\w+ ){0,2}(?:audit|events?)',
    instead: 'link, or chain'
  },
  {
    words: '(?:un)?seal(?:s|ed|ing|ers?)?',
    instead: 'link, or chain',
    files: /^src\/(?:audit|core\/audit|commands\/audit|data\/trail)\b/
  }
]

/** Where a word has its proper meaning, with the reason. */
const ALLOWED: { files: RegExp; words: string; reason: string }[] = [
  {
    files: /./,
    words:
      'kill -9|kills? the process|killed process(?:es)?|process(?:es)? (?:that )?(?:is|are|was|were|be|gets) killed',
    reason: 'the signal that ends a process'
  }
]

/** Compiles a phrase. Parts of a path, a file name or a hyphenated name are not words. */
const phrase = (words: string): RegExp =>
  new RegExp(`(?<![\\w/-])(?:${words.replaceAll(' ', '\\s+')})(?![\\w/]|-\\w|\\.\\w)`, 'gi')

const rules = RULES.map((rule) => ({ ...rule, pattern: phrase(rule.words) }))
const allowed = ALLOWED.map(({ files, words }) => ({ files, pattern: phrase(words) }))

/** Returns the replaced words in the prose of a file, in their order. The path decides how it is read. */
export function findWords(path: string, text: string): Hit[] {
  const prose = allowed
    .filter(({ files }) => files.test(path))
    .reduce((rest, { pattern }) => rest.replace(pattern, blank), proseOf(path, text))
  return rules
    .filter(({ files }) => files?.test(path) ?? true)
    .flatMap(({ pattern, instead }) =>
      Array.from(prose.matchAll(pattern), ({ 0: found, index }) => ({ found, index, instead }))
    )
    .sort((one, other) => one.index - other.index)
    .map(({ found, index, instead }) => ({
      line: prose.slice(0, index).split('\n').length,
      found: found.replaceAll(/\s+/g, ' '),
      instead
    }))
}

/** Returns a line for each hit, as `file:line: "found": instead`. */
export function describe(path: string, hits: Hit[]): string[] {
  return hits.map(({ line, found, instead }) => `${path}:${line}: "${found}": ${instead}`)
}

/** Returns the text with everything blanked except prose. Lengths and lines stay the same. */
function proseOf(path: string, text: string): string {
  const withComments = path.endsWith('.ts') ? withoutCode(path, text) : text
  const leaders = /\.(?:ts|prisma)$/.test(path)
    ? /(?<!:)\/\/+|\/\*+|\*+\/|^ *\*(?= |$)/gm
    : /^ *>/gm
  return withComments.replace(leaders, blank).replace(/`[^`\n]+`/g, cover)
}

/** Returns a TypeScript source in which only comments and the insides of texts are left. */
function withoutCode(path: string, text: string): string {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)
  const parts: string[] = []
  let done = 0
  const keepUntil = (end: number) => {
    parts.push(text.slice(done, end))
    done = end
  }
  const visit = (node: ts.Node): void => {
    if (ts.isJSDoc(node)) return
    const children = node.getChildren(source)
    if (children.length > 0) {
      children.forEach(visit)
      return
    }
    keepUntil(node.getStart(source))
    const token = node.getText(source)
    done = node.getEnd()
    parts.push(isText(node) ? token.replace(/^(?:['"`]|\})|(?:['"`]|\$\{)$/g, blank) : code(token))
  }
  visit(source)
  keepUntil(text.length)
  return parts.join('')
}

function isText(node: ts.Node): boolean {
  const isModule = ts.isImportDeclaration(node.parent) || ts.isExportDeclaration(node.parent)
  return (ts.isStringLiteral(node) && !isModule) || ts.isTemplateLiteralToken(node)
}

/** A sentence may continue after a `+`, but not after other code. */
const code = (token: string): string => (token === '+' ? ' ' : cover(token))
const blank = (part: string): string => part.replaceAll(/[^\n]/g, ' ')
const cover = (part: string): string => part.replaceAll(/[^\n]/g, '\0')

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const path of process.argv.slice(2)) {
    const lines = describe(path, findWords(path, await readFile(path, 'utf8')))
    for (const line of lines) process.stdout.write(`${line}\n`)
    if (lines.length > 0) process.exitCode = 1
  }
}
