// The programs in the guides: the blocks of one language on a page, one below the other, are one file.
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** Where the guides say that the service is. */
const ADDRESS = 'https://auth.example.com'
const EXTENSIONS: Record<string, string> = { python: 'py' }

export interface Guide {
  page: string
  /** As the fence of a block names it. */
  language: string
  /** Where the service is instead. */
  url?: string
}

/** The program of a page. */
export async function programOf({ page, language, url = ADDRESS }: Guide): Promise<string> {
  const text = await readFile(new URL(`../../docs/${page}`, import.meta.url), 'utf8')
  const fences = text.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)
  const blocks = Array.from(fences, ([, named, block = '']) => (named === language ? block : ''))
  const program = blocks.filter(Boolean).join('\n')
  if (!program) throw new Error(`${page} has no ${language}`)
  return program.replaceAll(ADDRESS, url)
}

/** Puts the program into a folder as a file, and returns the URL to import it from. */
export async function writeProgram(folder: string, guide: Guide): Promise<string> {
  const file = join(folder, `guide.${EXTENSIONS[guide.language] ?? guide.language}`)
  await writeFile(file, await programOf(guide))
  return pathToFileURL(file).href
}
