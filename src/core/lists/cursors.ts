// Cursors are opaque on the wire, so that what a list is ordered by can change without breaking a client.

/** The cursor of the page that starts after this id. */
export function encodeCursor(id: string): string {
  return Buffer.from(id).toString('base64url')
}

/** The id that a cursor stands for; null for what we never made. */
export function decodeCursor(cursor: string, form: RegExp): string | null {
  const id = Buffer.from(cursor, 'base64url').toString()
  return form.test(id) && encodeCursor(id) === cursor ? id : null
}
