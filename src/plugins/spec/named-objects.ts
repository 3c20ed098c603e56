// Gives every object in the spec a name. Client generators make a type for each named schema, and anonymous ones for the rest.

/** The part of JSON Schema that the schemas of the routes use. */
interface SpecSchema {
  $ref?: string
  /** The name of the schema, if it is not derived from the place. */
  title?: string
  type?: string | string[]
  description?: string
  required?: string[]
  properties?: Record<string, SpecSchema>
  items?: SpecSchema
  oneOf?: SpecSchema[]
  anyOf?: SpecSchema[]
}

interface Content {
  content?: Record<string, { schema?: SpecSchema }>
}

export interface SpecOperation {
  operationId?: string
  parameters?: { name: string; in: string }[]
  requestBody?: Content
  responses?: Record<string, Content & { headers?: object }>
}

export interface SpecDocument {
  paths: Record<string, Record<string, SpecOperation>>
  components: { schemas: Record<string, SpecSchema>; headers?: object }
}

/**
 * Moves every object into `components.schemas` and leaves a reference. The name is the title of the schema. Without a title it
 * is derived from the operation, or from the object around it and the name of the field. Objects with the same name must
 * be equal. A body that requires one of several fields becomes a union of objects that have one field each.
 */
export function nameObjects({ paths, components: { schemas } }: SpecDocument): void {
  const moved: Record<string, SpecSchema> = {}

  function moveContent({ content = {} }: Content, name: string): void {
    for (const media of Object.values(content)) {
      if (media.schema) media.schema = move(media.schema, name)
    }
  }

  function move(schema: SpecSchema, place: string): SpecSchema {
    const name = schema.title ?? place
    if (isChoiceOfFields(schema))
      return add(name, { oneOf: variantsOf(schema).map((variant) => move(variant, name)) })
    const inside = moveInside(schema, name)
    if (!inside.properties) return inside
    if (!Array.isArray(inside.type)) return add(name, inside)
    return { anyOf: [add(name, { ...inside, type: 'object' }), { type: 'null' }] }
  }

  function moveInside({ title: _title, ...schema }: SpecSchema, name: string): SpecSchema {
    const { properties, items, oneOf, anyOf } = schema
    const all = (choices: SpecSchema[]) => choices.map((choice) => move(choice, name))
    return {
      ...schema,
      ...(properties && { properties: moveProperties(properties, name) }),
      ...(items && { items: move(items, `${name}Item`) }),
      ...(oneOf && { oneOf: all(oneOf) }),
      ...(anyOf && { anyOf: all(anyOf) })
    }
  }

  function moveProperties(properties: Record<string, SpecSchema>, name: string) {
    const entries = Object.entries(properties)
    return Object.fromEntries(
      entries.map(([field, schema]) => [field, move(schema, `${name}${capitalized(field)}`)])
    )
  }

  function add(name: string, schema: SpecSchema): SpecSchema {
    const known = moved[name] ?? schemas[name]
    if (known && JSON.stringify(known) !== JSON.stringify(schema)) {
      throw new Error(`two schemas have the name ${name}`)
    }
    moved[name] = schema
    return { $ref: `#/components/schemas/${name}` }
  }

  for (const [name, schema] of Object.entries(schemas)) schemas[name] = moveInside(schema, name)
  for (const operation of Object.values(paths).flatMap((methods) => Object.values(methods))) {
    const name = capitalized(operation.operationId ?? '')
    if (operation.requestBody) moveContent(operation.requestBody, `${name}Body`)
    for (const response of Object.values(operation.responses ?? {})) {
      moveContent(response, `${name}Response`)
    }
  }
  Object.assign(schemas, moved)
}

/** Returns whether the schema is an object of which exactly one of several fields is required. */
function isChoiceOfFields({ properties, oneOf }: SpecSchema): boolean {
  return properties !== undefined && oneOf !== undefined
}

/** Returns one object for each choice, without the fields of the other choices. */
function variantsOf({
  oneOf = [],
  properties = {},
  required = [],
  ...schema
}: SpecSchema): SpecSchema[] {
  return oneOf.map(({ title, required: chosen = [] }) => {
    const others = oneOf
      .flatMap((other) => other.required ?? [])
      .filter((name) => !chosen.includes(name))
    const own = Object.entries(properties).filter(([name]) => !others.includes(name))
    return {
      ...schema,
      ...(title !== undefined && { title }),
      required: [...chosen, ...required],
      properties: Object.fromEntries(own)
    }
  })
}

function capitalized(name: string): string {
  const words = name.split(/[^A-Za-z0-9]+/)
  return words.map((word) => `${word.charAt(0).toUpperCase()}${word.slice(1)}`).join('')
}
