// Which steps can start: the data flow of a definition as a graph, and a run's state against it.
// Pure and total; hides how references, `needs` and gates become dependencies.
import type { Gate, Step } from '@fabrique/schema'
import type { Catalog, GateKind } from './catalog.ts'
import { placeholdersIn } from './placeholders.ts'
import type { Checkpoint, GateRecord } from './ports.ts'
import type { Definition } from './specification.ts'

/** Ids of the steps that a step waits for: those it references, and those it `needs`. */
export function dependenciesOf(step: Step): string[] {
  const { id: _, lookups: __, outputSchema: ___, ...fields } = step
  const referenced = placeholdersIn(fields).flatMap(({ placeholder }) =>
    placeholder.root === 'steps' && typeof placeholder.path[0] === 'string' ? [placeholder.path[0]] : [],
  )
  return [...new Set([...referenced, ...(step.needs ?? [])])]
}

/** The ids on a cycle of this graph, in order, or undefined where there is none. */
export function findCycle(edges: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const done = new Set<string>()
  const path: string[] = []
  const visit = (id: string): string[] | undefined => {
    if (done.has(id)) return undefined
    const at = path.indexOf(id)
    if (at >= 0) return [...path.slice(at), id]
    path.push(id)
    for (const next of edges.get(id) ?? []) {
      const cycle = edges.has(next) ? visit(next) : undefined
      if (cycle !== undefined) return cycle
    }
    path.pop()
    done.add(id)
    return undefined
  }
  for (const id of edges.keys()) {
    const cycle = visit(id)
    if (cycle !== undefined) return cycle
  }
  return undefined
}

/** A gate together with what its type means. */
export interface BoundGate {
  gate: Gate
  kind: GateKind
}

/** A definition prepared for planning; made once per definition and worker. */
export interface Graph {
  steps: { step: Step; needs: string[] }[]
  gates: BoundGate[]
  /** Review gates that stand behind a step, by that step's id. */
  reviewsAfter: Map<string, BoundGate[]>
}

/** Prepares a definition; a gate type that this catalog lacks throws, since it cannot be honoured. */
export function createGraph(definition: Definition, catalog: Catalog): Graph {
  const gates = definition.gates.map((gate) => {
    const kind = catalog.gate(gate.type)
    if (kind === undefined) throw new Error(`this worker has no gate of type "${gate.type}"`)
    return { gate, kind }
  })
  const reviewsAfter = Map.groupBy(
    gates.filter(({ gate, kind }) => kind.stands === 'review' && gate.after !== undefined),
    ({ gate }) => gate.after as string,
  )
  return {
    steps: definition.stepInstructions.map((step) => ({ step, needs: dependenciesOf(step) })),
    gates,
    reviewsAfter,
  }
}

export interface Progress {
  checkpoints: ReadonlyMap<string, Checkpoint>
  gates: ReadonlyMap<string, GateRecord>
  running: ReadonlySet<string>
}

export interface Next {
  /** May start now. */
  ready: Step[]
  /** Can never start: something they need failed or was skipped. */
  unreachable: Step[]
  /** Held back by these review gates, which stand open or must be opened. */
  reviews: BoundGate[]
}

/** What can happen next in a run. All three empty with nothing running means that every step is settled. */
export function next(graph: Graph, progress: Progress): Next {
  const result: Next = { ready: [], unreachable: [], reviews: [] }
  const reviews = new Set<BoundGate>()
  for (const { step, needs } of graph.steps) {
    if (progress.checkpoints.has(step.id) || progress.running.has(step.id)) continue
    const states = needs.map((id) => progress.checkpoints.get(id)?.status)
    if (states.some((status) => status === 'failed' || status === 'skipped')) {
      result.unreachable.push(step)
      continue
    }
    if (!states.every((status) => status === 'completed')) continue
    const undecided = needs
      .flatMap((id) => graph.reviewsAfter.get(id) ?? [])
      .filter(({ gate }) => progress.gates.get(gate.id)?.status !== 'approved')
    if (undecided.length === 0) result.ready.push(step)
    for (const gate of undecided) reviews.add(gate)
  }
  result.reviews = [...reviews]
  return result
}
