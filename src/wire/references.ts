// References between named schemas.
import { type Static, type TSchema, Type } from 'typebox'

/** Returns a reference to a named schema. The reference keeps the type of the schema. */
export function refTo<Schema extends TSchema>(schema: Schema) {
  const { $id } = schema as { $id?: string }
  if ($id === undefined) throw new Error('only a schema with an $id can be referred to')
  return Type.Unsafe<Static<Schema>>(Type.Ref($id))
}
