// What the values look like that placeholders lead to, as far as schemas, kinds and tools tell before a run.
// Hides the list that forEach makes of outputs, and what an item of a list is.
import { createPlaces, isJsonObject, type JsonObject, type Place, type Step } from '@fabrique/schema'
import type { Catalog } from '../../catalog.ts'
import { forEachOf } from '../data-flow.ts'
import { parseTemplate, type Placeholder } from '../placeholders.ts'

/** Of the reference to a file that outputs hold. */
export const KEYS_OF_FILES = ['id', 'mime_type', 'bytes', 'sha256', 'width', 'height']
const FILE: JsonObject = {
  type: 'object',
  properties: Object.fromEntries(KEYS_OF_FILES.map((key) => [key, {}])),
  additionalProperties: false,
}
/** Wherever an output has such a key. */
const MEMBERS = new Map<string, JsonObject>(
  Object.entries({
    artifact: FILE,
    artifacts: { type: 'array', items: FILE },
    text: { type: 'string' },
    usage: { type: 'object' },
    turns: { type: 'integer' },
    words: { type: 'integer' },
    duration_ms: { type: 'integer' },
  }),
)
const OPEN: Place = { is: 'open', types: [], schemas: [] }

export interface Shapes {
  /** The place that a placeholder leads to; `step` is the one that it stands in. */
  at(placeholder: Pick<Placeholder, 'root' | 'path'>, step?: Step): Place
}

/** `isSound` says of a schema of the template whether it can be used. */
export function createShapes(
  { intakeSchema }: JsonObject,
  steps: readonly Step[],
  catalog: Catalog,
  isSound: (schema: unknown) => boolean,
): Shapes {
  const known = new Map<JsonObject, ReturnType<typeof createPlaces>>()

  function inside(schema: unknown, path: readonly (string | number)[]): Place {
    if (!isJsonObject(schema) || !isSound(schema)) return OPEN
    const places = known.get(schema) ?? createPlaces(schema)
    known.set(schema, places)
    return places(path)
  }

  function ofOutput([id, slot, ...path]: readonly (string | number)[]): Place {
    const step = steps.find((one) => one.id === id)
    if (step === undefined || slot !== 'output') return OPEN
    const [index, ...rest] = step.forEach === undefined ? [0, ...path] : path
    if (index === undefined) return { is: 'named', types: ['array'], schemas: [{}] }
    if (!/^\d+$/.test(String(index))) return nowhere(index, [])
    const [key, ...below] = rest
    if (key === undefined) return { is: 'named', types: ['object'], schemas: [{}] }
    const tool = typeof step.tool === 'string' ? catalog.tool(step.tool) : undefined
    const keys = catalog.kind(step.kind)?.outputKeys(step, tool) ?? null
    if (keys === null) return OPEN
    if (!keys.includes(String(key))) return nowhere(key, keys)
    return inside(key === 'json' ? step.outputSchema : (MEMBERS.get(String(key)) ?? {}), below)
  }

  const at: Shapes['at'] = ({ root, path }, step) => {
    if (root === 'steps') return ofOutput(path)
    if (root === 'intake') return inside(intakeSchema, path)
    const items = root === 'item' && step !== undefined ? forEachOf(step)?.items : undefined
    const [list, ...more] = typeof items === 'string' ? parseTemplate(items) : []
    if (typeof list !== 'object' || more.length > 0 || list.root === 'item') return OPEN
    const { types } = at(list)
    if (types.length > 0 && !types.includes('array')) return OPEN
    return at({ root: list.root, path: [...list.path, 0, ...path] })
  }
  return { at }
}

function nowhere(key: string | number, known: readonly string[]): Place {
  return { is: 'never', types: [], schemas: [], missing: { key: String(key), known: [...known] } }
}
