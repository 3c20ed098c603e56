/**
 * Runs a command and ends the process. On an error, prints one line that begins with `onError`, and ends with the exit
 * code `errorCode`; otherwise ends with the code that the command has set.
 */
export async function runCommand(
  command: () => Promise<void>,
  { onError, errorCode }: { onError: string; errorCode: number }
): Promise<void> {
  try {
    await command()
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    // Errors of the database have several lines.
    console.error(`${onError}: ${reason.replace(/\s+/g, ' ').trim()}`)
    process.exitCode = errorCode
  }
  await Promise.all([process.stdout, process.stderr].map(flushed))
  // PGlite and Prisma's schema engine leave timers behind, which would keep the process alive for ten seconds.
  process.exit()
}

/** Resolves when everything is written that was given to the stream. A pipe takes 64 KiB, and the rest waits for its reader. */
function flushed(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((done) => stream.write('', () => done()))
}
