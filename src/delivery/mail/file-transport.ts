// Outside production, without a mail server: each mail becomes a file that a mail program opens.
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createTransport } from 'nodemailer'
import { asSendMailOptions, type MailTransport, type Message } from './messages.ts'

/** Writes each mail as `.eml` into a folder, which is made with the first. Nobody else on the machine may read them. */
export function createFileTransport(folder: string): MailTransport {
  const mailer = createTransport({ streamTransport: true, buffer: true })
  return {
    async send(message) {
      const { message: content } = await mailer.sendMail(asSendMailOptions(message))
      await mkdir(folder, { recursive: true, mode: 0o700 })
      const file = join(folder, fileName(message))
      // Written aside first, so that whoever watches the folder sees whole mails only.
      const unfinished = `${file}.unfinished`
      await writeFile(unfinished, content, { mode: 0o600 })
      await rename(unfinished, file)
    },
    close: () => {}
  }
}

// Sorts by time. The same at every try, so that a mail that is sent twice is one file.
function fileName({ date, kind, id }: Message): string {
  return `${date.toISOString().replaceAll(':', '-')}-${kind}-${id}.eml`
}
