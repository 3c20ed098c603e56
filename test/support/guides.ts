// The programs in the guides. All blocks of one language on a page form one file, in their order.
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** The address of the service in the guides. */
const ADDRESS = 'https://auth.example.com'
const EXTENSIONS: Record<string, string> = { python: 'py' }

export interface Guide {
  page: string
  /** The language in the fence of a block. */
  language: string
  /** The address of the service in the test, which replaces the one in the guide. */
  url?: string
}

/** Returns the program of a page. */
export async function programOf({ page, language, url = ADDRESS }: Guide): Promise<string> {
  const text = await readFile(new URL(`../../docs/${page}`, import.meta.url), 'utf8')
  const fences = text.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)
  const blocks = Array.from(fences, ([, named, block = '']) => (named === language ? block : ''))
  const program = blocks.filter(Boolean).join('\n')
  if (!program) throw new Error(`${page} has no ${language}`)
  return program.replaceAll(ADDRESS, url)
}

/** Writes the program to a file in the folder, and returns the URL to import it from. */
export async function writeProgram(folder: string, guide: Guide): Promise<string> {
  const file = join(folder, `guide.${EXTENSIONS[guide.language] ?? guide.language}`)
  await writeFile(file, await programOf(guide))
  return pathToFileURL(file).href
}
