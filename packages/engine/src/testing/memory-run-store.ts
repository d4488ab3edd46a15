// The run store in memory: the same rules as the record in PostgreSQL, on a clock that the owner moves.
// Hides atomicity by being synchronous inside: every method decides and writes before anybody else can.
import { isTerminal, type JsonObject, roundUsd, type RunError, type RunEvent, type RunStatus } from '@fabrique/schema'
import type {
  ArtifactRecord,
  CallRecord,
  Checkpoint,
  ClaimedRun,
  Clock,
  CommitOutcome,
  Delivery,
  GateRecord,
  Ids,
  NewEvent,
  NewRun,
  RunHistory,
  RunStore,
  Transition,
} from '../ports.ts'
import type { Definition } from '../specification.ts'

const DELIVERY_GRACE_MS = 10_000
const DECISION_GRACE_MS = 5_000
const RELEASE_GRACE_MS = 1_000
const RECHECK_MS = 30_000
const IDEMPOTENCY_MS = 24 * 3_600_000
const LOST_LEASES_MAX = 3

interface Row {
  run: NewRun
  status: RunStatus
  fence: number
  epoch: number
  lostLeases: number
  /** When somebody has to look if nobody has; null for parked and finished runs. */
  dueAtMs: number | null
  cancelRequested: boolean
  createdAt: string
  started: boolean
  output: JsonObject | null
  error: RunError | null
  events: RunEvent[]
  checkpoints: Map<string, Checkpoint>
  calls: Map<string, CallRecord>
  artifacts: Map<string, ArtifactRecord>
  gates: Map<string, GateRecord>
}

/** A run as a test looks at it. */
export interface StoredRun {
  status: RunStatus
  fence: number
  error: RunError | null
  output: JsonObject | null
  events: RunEvent[]
}

export interface MemoryRunStore extends RunStore {
  /** The run as it stands, or null if there is none. */
  read(runId: string): StoredRun | null
  /** Ids of all runs, oldest first. */
  runIds(): string[]
}

/** An empty record; leases and deadlines follow `clock`. */
export function createMemoryRunStore(deps: { clock: Pick<Clock, 'nowMs'>; ids: Ids }): MemoryRunStore {
  const rows = new Map<string, Row>()
  const definitions = new Map<string, Definition>()
  const keys = new Map<string, { digest: string; runId: string; atMs: number }>()
  const now = () => deps.clock.nowMs()

  function append(row: Row, events: NewEvent[]): RunEvent[] {
    const timestamp = new Date(now()).toISOString()
    const added = events.map(
      ({ kind, nodeKey, payload }, index): RunEvent => ({
        id: deps.ids.next(),
        seq: row.events.length + index + 1,
        kind,
        run_id: row.run.id,
        root_run_id: row.run.id,
        ...(nodeKey === undefined ? {} : { node_key: nodeKey }),
        timestamp,
        payload,
      }),
    )
    row.events.push(...added)
    return structuredClone(added)
  }

  function deliveryOf({ run, epoch }: Row): Delivery {
    return { runId: run.id, epoch, workflow: run.workflow, priority: run.priority, lane: run.lane }
  }

  function toPending(row: Row, dueInMs: number): void {
    row.status = 'pending'
    row.epoch += 1
    row.dueAtMs = now() + dueInMs
  }

  /** Ends a run that nobody executes; what it was still calling can no longer be known. */
  function settle(row: Row, status: 'cancelled' | 'failed', error: RunError | null): RunEvent[] {
    for (const call of row.calls.values()) {
      if (call.outcome === 'pending') Object.assign(call, { outcome: 'unknown', actualUsd: call.estimatedUsd })
    }
    const calls = [...row.calls.values()]
    Object.assign(row, { status, error, fence: row.fence + 1, dueAtMs: null })
    const cost = {
      currency: 'USD',
      estimated: roundUsd(calls.reduce((sum, call) => sum + call.estimatedUsd, 0)),
      actual: roundUsd(calls.reduce((sum, call) => sum + (call.actualUsd ?? 0), 0)),
      pricing_version: row.run.definition.pricingVersion,
    }
    const payload = { status, state: row.run.state, metadata: row.run.metadata, cost, error: error && { ...error } }
    return append(row, [{ kind: `workflow.run.${status}`, payload }])
  }

  function write(row: Row, { checkpoints, calls, artifacts, gates }: Transition): void {
    for (const checkpoint of checkpoints) {
      if (!row.checkpoints.has(checkpoint.key)) row.checkpoints.set(checkpoint.key, checkpoint)
    }
    for (const call of calls) row.calls.set(call.id, call)
    for (const artifact of artifacts) row.artifacts.set(artifact.id, artifact)
    for (const gate of gates) row.gates.set(gate.id, gate)
  }

  function commit(transition: Transition): CommitOutcome {
    const row = rows.get(transition.runId)
    if (row === undefined || row.fence !== transition.fence || row.status !== 'running') return { outcome: 'lost' }
    const { end, calls, checkpoints, events } = transition
    const spends = calls.some((call) => call.outcome === 'pending' && call.requestId === null)
    const endsOtherwise = end !== undefined && end.status !== 'cancelled'
    if (row.cancelRequested && (spends || endsOtherwise)) return { outcome: 'cancelled' }
    write(row, transition)
    if (checkpoints.length > 0 || end !== undefined) row.lostLeases = 0
    if (end !== undefined) {
      row.status = end.status
      row.dueAtMs = null
      if (end.status === 'completed') row.output = end.output
      if (end.status === 'failed') row.error = end.error
    }
    return { outcome: 'committed', events: append(row, events) }
  }

  function claimed(row: Row, resumed: boolean): ClaimedRun {
    const { run } = row
    return structuredClone({
      id: run.id,
      rootRunId: run.id,
      organizationId: run.organizationId,
      workflow: run.workflow,
      fence: row.fence,
      failFast: run.failFast,
      definitionHash: run.definitionHash,
      instance: run.instance,
      metadata: run.metadata,
      state: run.state,
      createdAt: row.createdAt,
      resumed,
    })
  }

  return {
    async acceptedUnder(organizationId, key) {
      const known = keys.get(`${organizationId} ${key}`)
      return known === undefined || now() - known.atMs >= IDEMPOTENCY_MS
        ? null
        : { runId: known.runId, digest: known.digest }
    },
    async accept(given) {
      const run = structuredClone(given)
      const { idempotency } = run
      if (idempotency !== null) {
        const key = `${run.organizationId} ${idempotency.key}`
        const known = keys.get(key)
        if (known !== undefined && now() - known.atMs < IDEMPOTENCY_MS) {
          return known.digest === idempotency.digest
            ? { outcome: 'replayed', runId: known.runId }
            : { outcome: 'mismatch' }
        }
        keys.set(key, { digest: idempotency.digest, runId: run.id, atMs: now() })
      }
      if (rows.has(run.id)) throw new Error(`there is a run ${run.id} already`)
      if (!definitions.has(run.definitionHash)) definitions.set(run.definitionHash, run.definition)
      const row: Row = {
        run,
        status: 'pending',
        fence: 0,
        epoch: 0,
        lostLeases: 0,
        dueAtMs: now() + DELIVERY_GRACE_MS,
        cancelRequested: false,
        createdAt: new Date(now()).toISOString(),
        started: false,
        output: null,
        error: null,
        events: [],
        checkpoints: new Map(),
        calls: new Map(),
        artifacts: new Map(),
        gates: new Map(),
      }
      rows.set(run.id, row)
      const payload = { status: 'pending', workflow: run.workflow, priority: run.priority }
      const events = append(row, [
        { kind: 'workflow.run.created', payload },
        { kind: 'workflow.run.queued', payload },
      ])
      return { outcome: 'accepted', runId: run.id, events }
    },

    async claim(runId, _worker, leaseMs) {
      const row = rows.get(runId)
      if (row?.status !== 'pending' || row.cancelRequested) return null
      const resumed = row.started
      Object.assign(row, { status: 'running', fence: row.fence + 1, dueAtMs: now() + leaseMs, started: true })
      if (!resumed) append(row, [{ kind: 'workflow.run.started', payload: { status: 'running' } }])
      return claimed(row, resumed)
    },

    async definition(hash) {
      return structuredClone(definitions.get(hash) ?? null)
    },

    async history(runId) {
      const row = rows.get(runId)
      const history: RunHistory = {
        checkpoints: [...(row?.checkpoints.values() ?? [])],
        calls: [...(row?.calls.values() ?? [])],
        artifacts: [...(row?.artifacts.values() ?? [])],
        gates: [...(row?.gates.values() ?? [])],
      }
      return structuredClone(history)
    },

    async commit(transition) {
      return commit(structuredClone(transition))
    },

    async renew(held, leaseMs) {
      const lost: string[] = []
      const cancelled: string[] = []
      for (const { runId, fence } of held) {
        const row = rows.get(runId)
        if (row?.fence !== fence || row.status !== 'running') {
          lost.push(runId)
          continue
        }
        row.dueAtMs = now() + leaseMs
        if (row.cancelRequested) cancelled.push(runId)
      }
      return { lost, cancelled }
    },

    async release(runId, fence) {
      const row = rows.get(runId)
      if (row?.fence !== fence || row.status !== 'running' || row.cancelRequested) return null
      row.fence += 1
      toPending(row, RELEASE_GRACE_MS)
      return deliveryOf(row)
    },

    async requestCancel(rootRunId) {
      const row = rows.get(rootRunId)
      if (row === undefined || isTerminal(row.status)) return { settled: [], active: [] }
      row.cancelRequested = true
      if (row.status === 'running') return { settled: [], active: [rootRunId] }
      return { settled: settle(row, 'cancelled', null), active: [] }
    },

    async decide(runId, { approve, gateId, comment }) {
      const row = rows.get(runId)
      if (row?.status !== 'waiting') return null
      const open = [...row.gates.values()]
        .filter(({ id, status }) => status === 'open' && (gateId === undefined || id === gateId))
        .sort((a, b) => (a.id < b.id ? -1 : 1))
      const [gate] = open
      if (gate === undefined) return null
      Object.assign(gate, { status: approve ? 'approved' : 'rejected', detail: comment ?? null })
      toPending(row, DECISION_GRACE_MS)
      return deliveryOf(row)
    },

    async recover(limit) {
      const due = () => [...rows.values()].filter(({ dueAtMs }) => dueAtMs !== null && dueAtMs <= now())
      const events: RunEvent[] = []
      for (const row of due()
        .filter(({ status }) => status === 'running')
        .slice(0, limit)) {
        if (row.cancelRequested) events.push(...settle(row, 'cancelled', null))
        else if (row.lostLeases >= LOST_LEASES_MAX - 1) {
          const message = `The run lost its worker ${LOST_LEASES_MAX} times in a row without finishing a step.`
          events.push(...settle(row, 'failed', { code: 'worker-crash-limit', message }))
        } else {
          row.lostLeases += 1
          row.fence += 1
          toPending(row, 0)
        }
      }
      const overdue = due()
        .filter(({ status }) => status === 'pending')
        .slice(0, limit)
      for (const row of overdue) row.dueAtMs = now() + RECHECK_MS
      return { overdue: overdue.map(deliveryOf), events }
    },

    async recheckPending() {
      for (const row of rows.values()) if (row.status === 'pending') row.dueAtMs = now()
    },

    read(runId) {
      const row = rows.get(runId)
      if (row === undefined) return null
      const { status, fence, error, output, events } = row
      return structuredClone({ status, fence, error, output, events })
    },
    runIds: () => [...rows.keys()],
  }
}
