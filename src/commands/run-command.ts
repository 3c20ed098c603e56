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
  // PGlite and Prisma's schema engine leave timers behind, which would keep the process alive for ten seconds.
  process.exit()
}
