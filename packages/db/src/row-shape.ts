// A row in the shape that it is read for, a record of the engine or a resource of the API, and a record as a row.
// Hides how columns and fields are called.

/** A column's name as a field's. */
export type Camel<Name> = Name extends `${infer Word}_${infer Rest}` ? `${Word}${Capitalize<Camel<Rest>>}` : Name
/** A field's name as a column's. */
export type Snake<Name> = Name extends `${infer First}${infer Rest}`
  ? `${First extends Lowercase<First> ? First : `_${Lowercase<First>}`}${Snake<Rest>}`
  : Name
/** A record's fields as columns. */
export type SnakeCased<Fields> = { [Name in keyof Fields as Snake<Name>]: Fields[Name] }
type TimesAsText<Row> = {
  [Name in keyof Row]: Exclude<Row[Name], Date> | (Date extends Row[Name] ? string : never)
}

/** There are few names and many rows: each name is made once. */
function once(rename: (name: string) => string): (name: string) => string {
  const made = new Map<string, string>()
  return (name) => {
    let known = made.get(name)
    if (known === undefined) made.set(name, (known = rename(name)))
    return known
  }
}

export const fieldOf = once((column) => column.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase()))
const columnOf = once((field) => field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`))

/** Without lists of entries on the way: claims and accepted runs pass through here. */
function mapped(record: object, nameOf: (name: string) => string, valueOf: (value: unknown) => unknown): object {
  const made: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(record)) made[nameOf(name)] = valueOf(value)
  return made
}
const same = <T>(value: T): T => value
const timeAsText = (value: unknown) => (value instanceof Date ? value.toISOString() : value)

/** A row by the names of a record's fields. */
export function camelCased<Row extends object>(row: Row): { [Name in keyof Row as Camel<Name>]: Row[Name] } {
  return mapped(row, fieldOf, same) as { [Name in keyof Row as Camel<Name>]: Row[Name] }
}

/** A record by the names of a row's columns. */
export function snakeCased<Fields extends object>(record: Fields): SnakeCased<Fields> {
  return mapped(record, columnOf, same) as SnakeCased<Fields>
}

/** A row with its times as text, as the API shows them. */
export function withTimesAsText<Row extends object>(row: Row): TimesAsText<Row> {
  return mapped(row, same, timeAsText) as TimesAsText<Row>
}

/** A resource: what its schema names, from `more` or else from the row, with times as text. */
export function resourceOf<Shape extends object, Row extends object, More extends object>(
  { shape }: { shape: Shape },
  row: Row,
  more: More,
): Omit<Pick<TimesAsText<Row>, keyof Row & keyof Shape>, keyof More> & More {
  const shown: Record<string, unknown> = {}
  for (const name of Object.keys(shape)) {
    const from = name in more ? more : row
    if (name in from) shown[name] = timeAsText((from as Record<string, unknown>)[name])
  }
  return shown as Omit<Pick<TimesAsText<Row>, keyof Row & keyof Shape>, keyof More> & More
}
