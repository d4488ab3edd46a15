// Which steps can start: a definition as a graph, and a run's state against it.
// Pure and total; hides how dependencies and gates delay steps.
import type { Gate, Step } from '@fabrique/schema'
import type { Catalog, GateKind } from '../catalog.ts'
import { type Dependency, dependenciesOf } from '../template/data-flow.ts'
import { type Expression, parseExpression } from '../template/expression.ts'
import type { Checkpoint, GateRecord } from '../ports.ts'
import type { Definition } from '../specification.ts'
import { decidedUnit, stepIdOf } from '../unit-key.ts'

/** A gate together with what its type means. */
export interface BoundGate {
  gate: Gate
  kind: GateKind
  /** Of a `condition`. */
  expression: Expression | null
}

export interface Node {
  step: Step
  needs: Dependency[]
  when: Expression | null
}

/** A definition prepared for planning; made once per definition and worker. */
export interface Graph {
  nodes: ReadonlyMap<string, Node>
  gates: BoundGate[]
  /** Review gates after a step, by that step's id. */
  reviewsAfter: ReadonlyMap<string, BoundGate[]>
}

/** Prepares a definition; a gate type that this catalog lacks throws, since it cannot be honoured. */
export function createGraph(definition: Definition, catalog: Catalog): Graph {
  const gates = definition.gates.map((gate): BoundGate => {
    const kind = catalog.gate(gate.type)
    if (kind === undefined) throw new Error(`this worker has no gate of type "${gate.type}"`)
    return { gate, kind, expression: kind.stands === 'condition' ? parseExpression(kind.expression(gate)) : null }
  })
  const reviewsAfter = Map.groupBy(
    gates.filter(({ gate, kind }) => kind.stands === 'review' && gate.after !== undefined),
    ({ gate }) => gate.after as string,
  )
  const nodes = definition.stepInstructions.map((step): [string, Node] => [
    step.id,
    { step, needs: dependenciesOf(step), when: step.when === undefined ? null : parseExpression(step.when) },
  ])
  return { nodes: new Map(nodes), gates, reviewsAfter }
}

export interface Progress {
  checkpoints: ReadonlyMap<string, Checkpoint>
  gates: ReadonlyMap<string, GateRecord>
  /** Started and not settled: running, or suspended until a called run has ended. */
  busy: ReadonlySet<string>
}

export interface Next {
  /** May start now, if their condition holds. */
  ready: Step[]
  /** Can never start: something they need failed or was skipped. */
  unreachable: Step[]
  /** Ids of the gates that steps wait for: open, or to be opened. */
  reviews: string[]
}

function openDecisions(gates: Progress['gates'], stepId: string): string[] {
  const open = [...gates.values()].filter(({ status }) => status === 'open').map(({ id }) => id)
  return open.filter((id) => stepIdOf(decidedUnit(id) ?? '') === stepId)
}

/** What can happen next in a run. All three empty with nothing busy means that every step is settled. */
export function next(graph: Graph, { checkpoints, gates, busy }: Progress): Next {
  const result: Next = { ready: [], unreachable: [], reviews: [] }
  const reviews = new Set<string>()

  const broken = new Map<string, boolean>()
  /** Failed, or skipped because of a failure: nothing that reads it can run, however softly it asks. */
  function isBroken(id: string): boolean {
    const known = broken.get(id)
    if (known !== undefined) return known
    const status = checkpoints.get(id)?.status
    const answer =
      status === 'skipped' ? graph.nodes.get(id)?.needs.some((need) => isBroken(need.id)) === true : status === 'failed'
    broken.set(id, answer)
    return answer
  }

  for (const { step, needs } of graph.nodes.values()) {
    if (checkpoints.has(step.id) || busy.has(step.id)) continue
    const statusOf = (id: string) => checkpoints.get(id)?.status
    if (needs.some(({ id, optional }) => isBroken(id) || (!optional && statusOf(id) === 'skipped'))) {
      result.unreachable.push(step)
      continue
    }
    if (!needs.every(({ id }) => statusOf(id) !== undefined)) continue
    const undecided = needs
      .filter(({ id }) => statusOf(id) === 'completed')
      .flatMap(({ id }) => graph.reviewsAfter.get(id) ?? [])
      .map(({ gate }) => gate.id)
      .filter((id) => gates.get(id)?.status !== 'approved')
    undecided.push(...openDecisions(gates, step.id))
    if (undecided.length === 0) result.ready.push(step)
    for (const id of undecided) reviews.add(id)
  }
  result.reviews = [...reviews]
  return result
}
