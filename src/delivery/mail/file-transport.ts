// Outside production and without a mail server, each mail becomes a file that mail programs can open.
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createTransport } from 'nodemailer'
import { asSendMailOptions, type MailTransport, type Message } from './messages.ts'

/** Writes each mail as `.eml` into a folder, which the first mail creates. Only the owner can read the files. */
export function createFileTransport(folder: string): MailTransport {
  const mailer = createTransport({ streamTransport: true, buffer: true })
  return {
    async send(message) {
      const { message: content } = await mailer.sendMail(asSendMailOptions(message))
      await mkdir(folder, { recursive: true, mode: 0o700 })
      const file = join(folder, fileName(message))
      // Renamed when it is complete, so that a program that watches the folder sees only whole mails.
      const unfinished = `${file}.unfinished`
      await writeFile(unfinished, content, { mode: 0o600 })
      await rename(unfinished, file)
    },
    close: () => {}
  }
}

// Names sort by time. A mail has the same file name at every try, so a mail that is sent twice is still one file.
function fileName({ date, kind, id }: Message): string {
  return `${date.toISOString().replaceAll(':', '-')}-${kind}-${id}.eml`
}
