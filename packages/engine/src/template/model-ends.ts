// The ends of the models that a template names: announced by the price list's model rows, judged by the server's date.
// Hides where a template may name a model, and that a model's last day, in UTC, is still its own.
import { isJsonObject, type JsonObject, type ModelRow, pointerTo, type Problem, textOf } from '@fabrique/schema'
import { modelNamesOf } from '../catalog.ts'
import { providersOf, stepsOf } from './guards/report.ts'

const DAY_MS = 86_400_000
/** How long before a model's end its templates are warned of. */
const WARNED_DAYS = 60

export interface ModelEnd {
  model: string
  until: string
  successor?: string
  /** Whole days after today; 0 on its last day, negative once it has ended. */
  daysLeft: number
}

/** The models that end within 60 days or have ended, by name. */
export function endsOf(models: readonly ModelRow[] = [], nowMs: number): Map<string, ModelEnd> {
  const today = Math.floor(nowMs / DAY_MS)
  const ends = models.flatMap(({ model, until, successor }): [string, ModelEnd][] => {
    const daysLeft = until === undefined ? Infinity : Date.parse(until) / DAY_MS - today
    if (until === undefined || daysLeft > WARNED_DAYS) return []
    return [[model, { model, until, daysLeft, ...(successor === undefined ? {} : { successor }) }]]
  })
  return new Map(ends)
}

/** Such a model in a document, as what an author is told of it. */
export interface NamedEnd {
  end: ModelEnd
  problem: Problem
}

/** Every place where a document, in whatever state, names such a model. */
export function endsIn(document: JsonObject, ends: ReadonlyMap<string, ModelEnd>): NamedEnd[] {
  if (ends.size === 0) return []
  const roles = providersOf(document)
  const bySteps = stepsOf(document).flatMap(({ step, at }) => {
    const { role, names } = modelNamesOf(step, roles)
    const field = step.model === undefined ? 'tool' : 'model'
    return names.map((name) => ({
      name,
      pointer: role === undefined ? `${at}/${field}` : pointerTo('providers', role),
    }))
  })
  const byGates = (Array.isArray(document.gates) ? document.gates : []).map((gate, index) => ({
    name: isJsonObject(gate) ? textOf(gate.model) : '',
    pointer: pointerTo('gates', index, 'model'),
  }))
  const found = new Map<string, NamedEnd>()
  for (const { name, pointer } of [...bySteps, ...byGates]) {
    const end = ends.get(name)
    if (end === undefined) continue
    const code = end.daysLeft < 0 ? 'model-retired' : 'model-ending'
    // Steps that share a role name the model once.
    found.set(`${pointer} ${name}`, { end, problem: { pointer, code, detail: endInWords(end) } })
  }
  return [...found.values()]
}

/** An end, and what to do about it. */
export function endInWords({ model, until, successor, daysLeft }: ModelEnd): string {
  const remedy = successor === undefined ? 'choose another model' : `its successor is "${successor}"`
  return `"${model}" ${daysLeft < 0 ? 'ended' : 'ends'} on ${until}; ${remedy}`
}
