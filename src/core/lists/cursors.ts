// Cursors are opaque on the wire, so that the order of a list can change without breaking a client.

/** Returns the cursor of the page that starts after this id. */
export function encodeCursor(id: string): string {
  return Buffer.from(id).toString('base64url')
}

/** Returns the id inside a cursor; null for a cursor that we never issued. */
export function decodeCursor(cursor: string, form: RegExp): string | null {
  const id = Buffer.from(cursor, 'base64url').toString()
  return form.test(id) && encodeCursor(id) === cursor ? id : null
}
