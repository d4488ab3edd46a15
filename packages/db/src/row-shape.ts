// A row in the shape that it is read for: a record of the engine, or a resource of the API.
/** A column's name as a field's. */
export type Camel<Name> = Name extends `${infer Word}_${infer Rest}` ? `${Word}${Capitalize<Camel<Rest>>}` : Name

export const fieldOf = (column: string) => column.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase())

/** A row by the names of a record's fields. */
export function camelCased<Row extends object>(row: Row): { [Name in keyof Row as Camel<Name>]: Row[Name] } {
  const fields = Object.entries(row).map(([column, value]) => [fieldOf(column), value])
  return Object.fromEntries(fields)
}

/** A row with its times as text, as the API shows them. */
export function withTimesAsText<Row extends object>(
  row: Row,
): { [Name in keyof Row]: Exclude<Row[Name], Date> | (Date extends Row[Name] ? string : never) } {
  const values = Object.entries(row).map(([name, value]) => [name, value instanceof Date ? value.toISOString() : value])
  return Object.fromEntries(values)
}
