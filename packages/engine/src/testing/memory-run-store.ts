// The run store in memory: the same rules as the record in PostgreSQL, on a clock that the owner moves.
// Hides atomicity by being synchronous inside: every method decides and writes before anybody else can.
import { isTerminal, type JsonObject, roundUsd, type RunError, type RunEvent, type RunStatus } from '@fabrique/schema'
import type {
  ArtifactRecord,
  CallRecord,
  Checkpoint,
  ChildRecord,
  ChildRun,
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
import { joinSlots, type SlotState } from '../slots.ts'
import { slotIndexOf, slotKey } from '../unit-key.ts'
import type { Definition } from '../specification.ts'

const DELIVERY_GRACE_MS = 10_000
const DECISION_GRACE_MS = 5_000
const RELEASE_GRACE_MS = 1_000
const RECHECK_MS = 30_000
const IDEMPOTENCY_MS = 24 * 3_600_000
const LOST_LEASES_MAX = 3

interface Row {
  run: NewRun
  rootRunId: string
  /** The caller, and its unit that waits; null for a run that nobody called. */
  caller: { runId: string; key: string } | null
  status: RunStatus
  fence: number
  epoch: number
  lostLeases: number
  /** When somebody has to look if nobody has; null for finished runs, and for parked ones that wait for ever. */
  dueAtMs: number | null
  /** False while a run rests although it counts as running. */
  executed: boolean
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
  /** When gates that decide themselves do so. */
  expiries: Map<string, number>
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
  const capped: { organizationId: string; workflow: string; day: string; runId: string; callId: string }[] = []
  const now = () => deps.clock.nowMs()

  function append(row: Row, events: NewEvent[]): RunEvent[] {
    const timestamp = new Date(now()).toISOString()
    const added = events.map(
      ({ kind, nodeKey, payload }, index): RunEvent => ({
        id: deps.ids.next(),
        seq: row.events.length + index + 1,
        kind,
        run_id: row.run.id,
        root_run_id: row.rootRunId,
        ...(nodeKey === undefined ? {} : { node_key: nodeKey }),
        timestamp,
        payload,
      }),
    )
    row.events.push(...added)
    return structuredClone(added)
  }

  function deliveryOf({ run, epoch }: Row): Delivery {
    const { organizationId } = run
    return { runId: run.id, organizationId, epoch, workflow: run.workflow, priority: run.priority, lane: run.lane }
  }

  function toPending(row: Row, dueInMs: number): void {
    row.status = 'pending'
    row.epoch += 1
    row.dueAtMs = now() + dueInMs
    row.executed = false
  }

  const isResting = ({ status, executed, cancelRequested }: Row) =>
    (status === 'waiting' || (status === 'running' && !executed)) && !cancelRequested

  function below(runId: string): Row[] {
    const direct = [...rows.values()].filter(({ caller }) => caller?.runId === runId)
    return direct.flatMap((row) => [row, ...below(row.run.id)])
  }

  function spentBy(row: Row): number {
    const calls = [row, ...below(row.run.id)].flatMap(({ calls: own }) => [...own.values()])
    return roundUsd(calls.reduce((sum, call) => sum + (call.actualUsd ?? call.estimatedUsd), 0))
  }

  const today = () => new Date(now()).toISOString().slice(0, 10)

  function spentToday(organizationId: string, workflow: string): number {
    const usd = capped
      .filter((one) => one.organizationId === organizationId && one.workflow === workflow && one.day === today())
      .map(({ runId, callId }) => rows.get(runId)?.calls.get(callId))
      .reduce((sum, call) => sum + (call?.actualUsd ?? call?.estimatedUsd ?? 0), 0)
    return roundUsd(usd)
  }

  /** Brings a run of slots up to what its slots are. */
  function join(root: Row): { events: RunEvent[]; cancelled: string[] } {
    const slots = root.run.slots.map(({ id }) => rows.get(id) as Row)
    const states = () =>
      slots.map(
        (row, index): SlotState => ({
          index,
          runId: row.run.id,
          workflow: row.run.workflow,
          status: row.status,
          started: row.started,
          error: row.error,
          finishedAt: row.events.at(-1)?.timestamp ?? null,
        }),
      )
    const logged = new Set(root.events.map(({ kind, node_key }) => `${kind} ${node_key}`))
    const run = { status: root.status, failFast: root.run.failFast, cancelRequested: root.cancelRequested }
    const events: RunEvent[] = []
    const cancelled: string[] = []
    if (
      joinSlots(run, states(), logged).stop &&
      !slots.every(({ cancelRequested, status }) => cancelRequested || isTerminal(status))
    ) {
      const stopped = cancel(slots)
      events.push(...stopped.settled)
      if (stopped.active.length > 0) cancelled.push(root.run.id)
      if (isTerminal(root.status)) return { events, cancelled }
    }
    const joined = joinSlots(run, states(), new Set(root.events.map(({ kind, node_key }) => `${kind} ${node_key}`)))
    events.push(...append(root, joined.events))
    Object.assign(root, { status: joined.status, error: joined.error })
    if (isTerminal(joined.status)) {
      const payload = { status: joined.status, partial: joined.partial, error: joined.error && { ...joined.error } }
      events.push(...append(root, [{ kind: `workflow.run.${joined.status}` as RunEvent['kind'], payload }]))
    }
    return { events, cancelled }
  }

  function childrenOf(runId: string): ChildRecord[] {
    const called = [...rows.values()].filter(({ caller }) => caller?.runId === runId)
    return called.map((row) => ({
      id: row.run.id,
      callerKey: row.caller?.key ?? '',
      workflow: row.run.workflow,
      status: row.status,
      output: row.output,
      error: row.error,
      simulated: row.run.simulated,
      artifacts: [...row.artifacts.values()],
      openGates: [row, ...below(row.run.id)].flatMap(({ run, gates }) =>
        [...gates.values()]
          .filter(({ status }) => status === 'open')
          .map(({ id, name }) => ({ id, name, runId: run.id })),
      ),
      spentUsd: spentBy(row),
      capUsd: row.run.instance.capUsd ?? 0,
    }))
  }

  function cancel(tree: Row[]) {
    const marked = tree.filter(({ status }) => !isTerminal(status))
    for (const row of marked) row.cancelRequested = true
    const live = marked.filter(({ run }) => run.slots.length === 0)
    const isExecuted = (row: Row) => row.status === 'running' && row.executed
    return {
      active: live.filter(isExecuted).map(({ run }) => run.id),
      settled: live.filter((row) => !isExecuted(row)).flatMap((row) => settle(row, 'cancelled', null)),
    }
  }

  function newRow(run: NewRun, caller: Row['caller'], rootRunId: string): Row {
    return {
      run,
      rootRunId,
      caller,
      status: 'pending',
      fence: 0,
      epoch: 0,
      lostLeases: 0,
      dueAtMs: now() + DELIVERY_GRACE_MS,
      executed: false,
      cancelRequested: false,
      createdAt: new Date(now()).toISOString(),
      started: false,
      output: null,
      error: null,
      events: [],
      checkpoints: new Map(run.inherited?.checkpoints.map((one) => [one.key, one])),
      calls: new Map(),
      artifacts: new Map(run.inherited?.artifacts.map((one) => [one.id, one])),
      gates: new Map(run.inherited?.gates?.map((one) => [one.id, one])),
      expiries: new Map(),
    }
  }

  function firstEvents(row: Row): RunEvent[] {
    const payload = { status: 'pending', workflow: row.run.workflow, priority: row.run.priority }
    return append(row, [
      { kind: 'workflow.run.created', payload },
      { kind: 'workflow.run.queued', payload },
    ])
  }

  function call(caller: Row, child: ChildRun): void {
    const { callerKey, ...own } = child
    const { run } = caller
    const called: NewRun = {
      ...run,
      ...own,
      slots: [],
      parentRunId: null,
      parentVariantIndex: null,
      retryOf: null,
      state: null,
    }
    if (!definitions.has(child.definitionHash)) definitions.set(child.definitionHash, child.definition)
    const row = newRow(
      { ...called, inherited: null, warnings: [] },
      { runId: run.id, key: callerKey },
      caller.rootRunId,
    )
    rows.set(child.id, row)
    firstEvents(row)
  }

  /** Ends a run that nobody executes; what it was still calling can no longer be known. */
  function settle(row: Row, status: 'cancelled' | 'failed', error: RunError | null): RunEvent[] {
    for (const call of row.calls.values()) {
      if (call.outcome === 'pending') Object.assign(call, { outcome: 'unknown', actualUsd: call.estimatedUsd })
    }
    const calls = [row, ...below(row.run.id)].flatMap(({ calls: own }) => [...own.values()])
    Object.assign(row, { status, error, executed: false, fence: row.fence + 1, dueAtMs: null })
    const cost = {
      currency: 'USD',
      estimated: row.run.estimatedUsd,
      // What a called run has under way may be charged, and counts.
      actual: roundUsd(calls.reduce((sum, call) => sum + (call.actualUsd ?? call.estimatedUsd), 0)),
      pricing_version: row.run.definition.pricingVersion,
    }
    const payload = { status, state: row.run.state, metadata: row.run.metadata, cost, error: error && { ...error } }
    const ended = append(row, [{ kind: `workflow.run.${status}`, payload }])
    const caller = row.caller === null ? undefined : rows.get(row.caller.runId)
    if (caller === undefined) return ended
    if (caller.run.slots.length > 0) return isTerminal(caller.status) ? ended : [...ended, ...join(caller).events]
    if (isResting(caller)) toPending(caller, 0)
    return ended
  }

  function write(row: Row, { checkpoints, calls, artifacts, gates }: Transition): void {
    for (const checkpoint of checkpoints) {
      if (!row.checkpoints.has(checkpoint.key)) row.checkpoints.set(checkpoint.key, checkpoint)
    }
    for (const call of calls) row.calls.set(call.id, call)
    for (const artifact of artifacts) row.artifacts.set(artifact.id, artifact)
    for (const gate of gates) {
      if (gate.expiry !== undefined && !row.expiries.has(gate.id)) row.expiries.set(gate.id, now() + gate.expiry.inMs)
      row.gates.set(gate.id, gate)
    }
  }

  function commit(transition: Transition): CommitOutcome {
    const row = rows.get(transition.runId)
    if (row === undefined || row.fence !== transition.fence || row.status !== 'running') return { outcome: 'lost' }
    const { end, calls, checkpoints, events } = transition
    const spends = calls.some((call) => call.outcome === 'pending' && call.requestId === null)
    const endsOtherwise = end !== undefined && end.status !== 'cancelled'
    const { children = [], dayCaps = [] } = transition
    if (row.cancelRequested && (spends || endsOtherwise || children.length > 0)) return { outcome: 'cancelled' }
    const begun = calls.filter(({ outcome, requestId }) => outcome === 'pending' && requestId === null)
    const { organizationId } = row.run
    for (const cap of begun.length === 0 ? [] : dayCaps) {
      const spentUsd = spentToday(organizationId, cap.workflow)
      const wanted = begun.reduce((sum, { estimatedUsd }) => sum + estimatedUsd, spentUsd)
      if (roundUsd(wanted) > cap.maxUsd) return { outcome: 'over-budget', cap, spentUsd }
    }
    for (const { workflow } of dayCaps) {
      for (const { id } of begun) capped.push({ organizationId, workflow, day: today(), runId: row.run.id, callId: id })
    }
    write(row, transition)
    for (const child of children) call(row, child)
    if (checkpoints.length > 0 || end !== undefined) row.lostLeases = 0
    if (end !== undefined) {
      row.status = end.status === 'parked' ? 'running' : end.status
      row.dueAtMs = 'wakeInMs' in end && end.wakeInMs !== null ? now() + end.wakeInMs : null
      row.executed = false
      if (end.status === 'completed') row.output = end.output
      if (end.status === 'failed') row.error = end.error
    }
    return { outcome: 'committed', events: append(row, events) }
  }

  function claimed(row: Row, resumed: boolean): ClaimedRun {
    const { run } = row
    return structuredClone({
      id: run.id,
      rootRunId: row.rootRunId,
      organizationId: run.organizationId,
      workflow: run.workflow,
      fence: row.fence,
      failFast: run.failFast,
      definitionHash: run.definitionHash,
      instance: run.instance,
      metadata: run.metadata,
      state: run.state,
      createdAt: row.createdAt,
      estimatedUsd: run.estimatedUsd,
      priority: run.priority,
      lane: run.lane,
      awaitedBy: row.caller?.runId ?? null,
      slotIndex: row.caller === null ? null : slotIndexOf(row.caller.key),
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
      const row = newRow(run, null, run.id)
      rows.set(run.id, row)
      for (const [index, slot] of run.slots.entries()) {
        if (!definitions.has(slot.definitionHash)) definitions.set(slot.definitionHash, slot.definition)
        const slotRow = newRow({ ...run, ...slot, slots: [] }, { runId: run.id, key: slotKey(index) }, run.id)
        rows.set(slot.id, slotRow)
        firstEvents(slotRow)
      }
      return { outcome: 'accepted', runId: run.id, events: firstEvents(row) }
    },

    async claim(runId, _worker, leaseMs) {
      const row = rows.get(runId)
      if (row?.status !== 'pending' || row.cancelRequested || row.run.slots.length > 0) return null
      const resumed = row.started
      Object.assign(row, {
        status: 'running',
        fence: row.fence + 1,
        dueAtMs: now() + leaseMs,
        started: true,
        executed: true,
      })
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
        gates: [...(row?.gates.values() ?? [])].map(({ expiry, ...gate }) => ({
          ...gate,
          ...(expiry === undefined ? {} : { expiry: { ...expiry, inMs: (row?.expiries.get(gate.id) ?? 0) - now() } }),
        })),
        children: childrenOf(runId),
      }
      return structuredClone(history)
    },

    async find(runId) {
      const row = rows.get(runId)
      return row === undefined ? null : structuredClone({ status: row.status, instance: row.run.instance })
    },

    async children(runId) {
      return structuredClone(childrenOf(runId))
    },
    async tell(runIds) {
      const told = runIds.flatMap((runId) => rows.get(runId) ?? [])
      const resting = told.filter((row) => row.run.slots.length === 0 && isResting(row))
      for (const row of resting) toPending(row, DECISION_GRACE_MS)
      const joined = told.filter((row) => row.run.slots.length > 0 && !isTerminal(row.status)).map(join)
      return {
        deliveries: resting.map(deliveryOf),
        events: joined.flatMap(({ events }) => events),
        cancelled: joined.flatMap(({ cancelled }) => cancelled),
      }
    },
    async spentToday(organizationId, workflow) {
      return spentToday(organizationId, workflow)
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
      const tree = new Set([rootRunId, ...below(rootRunId).map(({ run }) => run.id)])
      return cancel([...rows.values()].filter(({ run }) => tree.has(run.id)))
    },
    async cancelChildren(runId) {
      return cancel(below(runId))
    },

    async decide(runId, { approve, gateId, comment }) {
      const asked = rows.get(runId)
      const open = (asked === undefined ? [] : [asked, ...below(runId)])
        .filter(({ status }) => status === 'waiting')
        .flatMap((row) =>
          [...row.gates.values()]
            .filter(({ id, status }) => status === 'open' && (gateId === undefined || id === gateId))
            .filter(({ id }) => (row.expiries.get(id) ?? Number.POSITIVE_INFINITY) > now())
            .sort((a, b) => (a.id < b.id ? -1 : 1))
            .map((gate) => ({ row, gate })),
        )
      const [first] = open
      if (first === undefined) return null
      const { row, gate } = first
      Object.assign(gate, { status: approve ? 'approved' : 'rejected', detail: comment ?? null })
      toPending(row, DECISION_GRACE_MS)
      for (let up = row.caller; up !== null; up = rows.get(up.runId)?.caller ?? null) {
        const caller = rows.get(up.runId)
        const soon = now() + RECHECK_MS
        if (caller?.status === 'waiting' && caller.run.slots.length === 0)
          caller.dueAtMs = Math.min(caller.dueAtMs ?? soon, soon)
      }
      return deliveryOf(row)
    },

    async recover(limit) {
      const due = () => [...rows.values()].filter(({ dueAtMs }) => dueAtMs !== null && dueAtMs <= now())
      const events: RunEvent[] = []
      const cancelled: string[] = []
      for (const row of due()
        .filter(({ run, status }) => run.slots.length > 0 && !isTerminal(status))
        .slice(0, limit)) {
        row.dueAtMs = now() + RECHECK_MS
        const joined = join(row)
        events.push(...joined.events)
        cancelled.push(...joined.cancelled)
      }
      for (const row of due()
        .filter((one) => one.run.slots.length === 0 && isResting(one))
        .slice(0, limit))
        toPending(row, 0)
      for (const row of due()
        .filter(({ status, executed }) => status === 'running' && executed)
        .slice(0, limit)) {
        if (row.cancelRequested) events.push(...settle(row, 'cancelled', null))
        else if (row.lostLeases >= LOST_LEASES_MAX - 1) {
          const message = `The run lost its worker ${LOST_LEASES_MAX} times in a row without finishing a step.`
          events.push(...settle(row, 'failed', { code: 'worker-crash-limit', message }))
          const stopped = cancel(below(row.run.id))
          events.push(...stopped.settled)
          cancelled.push(...stopped.active)
        } else {
          row.lostLeases += 1
          row.fence += 1
          toPending(row, 0)
        }
      }
      const overdue = due()
        .filter(({ status, run }) => status === 'pending' && run.slots.length === 0)
        .slice(0, limit)
      for (const row of overdue) row.dueAtMs = now() + RECHECK_MS
      return { overdue: overdue.map(deliveryOf), events, cancelled }
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
