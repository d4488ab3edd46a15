// The run store in memory: the same rules as the record in PostgreSQL, on a clock that the owner moves.
// Hides atomicity by being synchronous inside: every method decides and writes before anybody else can.
import {
  DECISION_GATE,
  endEvent,
  firstEvents,
  isTerminal,
  type JsonObject,
  roundUsd,
  type RunError,
  type RunEvent,
  type EndOutput,
  type RunStatus,
  runCost,
  type Spending,
  spendingOf,
  waitingEvent,
} from '@fabrique/schema'
import { asUnknown } from '../execution/call-bill.ts'
import { artifactSummary } from '../execution/run-state.ts'
import {
  type Condition,
  CRASHED,
  LOST_LEASES_MAX,
  SUSPECT_APART_MS,
  type Move,
  MOVE_AT_END,
  type MoveName,
  MOVES,
  type Phase,
  phaseOf,
  WOKEN_GRACE_MS,
} from '../phase.ts'
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
import { bundleTurns, joinSlots, type SlotState } from '../slots.ts'
import type { Definition } from '../specification.ts'
import { begunCalls, isRefusedByCancel } from '../transition.ts'
import { slotIndexOf, slotKey } from '../unit-key.ts'

const IDEMPOTENCY_MS = 24 * 3_600_000

interface Row {
  run: NewRun
  rootRunId: string
  /** The caller, and its unit that waits; null for a run that nobody called. */
  caller: { runId: string; key: string } | null
  status: RunStatus
  fence: number
  /** When it was last claimed, and as which of all claims. */
  claimed: { atMs: number; nth: number }
  /** The number of the last transition under this fence. */
  commits: number
  epoch: number
  lostLeases: number
  /** When the reconciler looks at the run; null for never. */
  dueAtMs: number | null
  worker: string | null
  cancelRequested: boolean
  createdAt: string
  started: boolean
  finishedAt: string | null
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
  calls: CallRecord[]
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
  let claims = 0
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

  const phase = (row: Row): Phase => phaseOf({ ...row, hasSlots: row.run.slots.length > 0 })

  function mayMove(name: MoveName, row: Row, fence?: number): boolean {
    const { from, only }: Move = MOVES[name]
    if (!from.includes(phase(row))) return false
    return only.every((condition) => {
      const isLast = row.lostLeases >= LOST_LEASES_MAX - 1
      const holds: Record<Condition, boolean> = {
        fenced: row.fence === fence,
        'not cancelled': !row.cancelRequested,
        alone: row.lostLeases === 0 || ![...rows.values()].some((other) => isInTheWay(other, row)),
        overdue: row.dueAtMs !== null && row.dueAtMs <= now(),
        'leases left': !isLast,
        'no leases left or cancelled': isLast || row.cancelRequested,
      }
      return holds[condition]
    })
  }

  function isInTheWay(other: Row, row: Row): boolean {
    if (other === row || other.lostLeases === 0 || phase(other) !== 'executing') return false
    return Math.max(other.lostLeases, row.lostLeases) > 1 || other.claimed.atMs > now() - SUSPECT_APART_MS
  }

  /** Whether a run is delivered: of those that lost a worker only the one that was claimed last, when it is its turn. */
  function hasTurn(row: Row): boolean {
    const queued = [...rows.values()].filter((other) => other.lostLeases > 0 && phase(other) === 'queued')
    const [next] = queued.sort((one, other) => other.claimed.nth - one.claimed.nth)
    return row.lostLeases === 0 || (row === next && mayMove('claim', row))
  }

  interface Given {
    status?: string
    worker?: string
    dueInMs?: number | null
  }

  function move(name: MoveName, row: Row, given: Given = {}): void {
    const { status, worker, fence, epoch, lostLeases, dueInMs, dueWithinMs }: Move['sets'] = MOVES[name].sets
    if (status !== undefined) row.status = status === 'given' ? (given.status as RunStatus) : status
    if (worker !== undefined) row.worker = worker === null ? null : (given.worker as string)
    if (fence === 'next') row.fence += 1
    if (epoch === 'next') row.epoch += 1
    if (lostLeases !== undefined) row.lostLeases = lostLeases === 'next' ? row.lostLeases + 1 : 0
    if (dueWithinMs !== undefined) row.dueAtMs = Math.min(row.dueAtMs ?? Infinity, now() + dueWithinMs)
    if (dueInMs === undefined) return
    const ms = dueInMs === 'given' ? (given.dueInMs as number | null) : dueInMs
    row.dueAtMs = ms === null ? null : now() + ms
  }

  /** The runs that may make this move, at most `limit`. */
  const movable = (name: MoveName, limit: number) =>
    [...rows.values()].filter((row) => mayMove(name, row)).slice(0, limit)

  function below(runId: string): Row[] {
    const direct = [...rows.values()].filter(({ caller }) => caller?.runId === runId)
    return direct.flatMap((row) => [row, ...below(row.run.id)])
  }

  function spentBy(row: Row): Spending {
    return spendingOf([row, ...below(row.run.id)].flatMap(({ calls: own }) => [...own.values()]))
  }

  const today = () => new Date(now()).toISOString().slice(0, 10)

  function spentToday(organizationId: string, workflow: string): number {
    const usd = capped
      .filter((one) => one.organizationId === organizationId && one.workflow === workflow && one.day === today())
      .map(({ runId, callId }) => rows.get(runId)?.calls.get(callId))
      .reduce((sum, call) => sum + (call?.actualUsd ?? call?.estimatedUsd ?? 0), 0)
    return roundUsd(usd)
  }

  /** Brings a bundle up to what its slots are. */
  function join(root: Row): { events: RunEvent[]; cancelled: string[] } {
    const slots = root.run.slots.map(({ id }) => rows.get(id) as Row)
    const joined = () =>
      joinSlots(
        { status: root.status, failFast: root.run.failFast, cancelRequested: root.cancelRequested },
        slots.map(
          (row, index): SlotState => ({
            index,
            runId: row.run.id,
            workflow: row.run.workflow,
            status: row.status,
            started: row.started,
            error: row.error,
            finishedAt: row.finishedAt,
          }),
        ),
        new Set(root.events.map(({ kind, node_key }) => `${kind} ${node_key}`)),
      )
    const events: RunEvent[] = []
    const cancelled: string[] = []
    if (joined().stop && slots.some((row) => !row.cancelRequested && !isTerminal(row.status))) {
      const stopped = cancel(slots)
      events.push(...stopped.settled)
      if (stopped.active.length > 0) cancelled.push(root.run.id)
      if (isTerminal(root.status)) return { events, cancelled }
    }
    const outcome = joined()
    const { status, partial, error, events: notes } = outcome
    const { begins, waits } = bundleTurns(root, outcome)
    const started: NewEvent = { kind: 'workflow.run.started', payload: { status: 'running' } }
    events.push(
      ...append(root, [
        ...(begins ? [started] : []),
        ...notes,
        ...(waits ? [waitingEvent(slots.flatMap(shownGates))] : []),
      ]),
    )
    root.started ||= begins
    if (!isTerminal(status)) move('follow', root, { status })
    else events.push(...end('join', root, status, error, partial))
    return { events, cancelled }
  }

  const shownGates = (row: Row) => openGatesOf(row).map(({ runId, ...gate }) => ({ ...gate, run_id: runId }))

  const openGatesOf = (row: Row) =>
    [row, ...below(row.run.id)].flatMap(({ run, gates }) =>
      [...gates.values()]
        .filter(({ status }) => status === 'open')
        .map(({ id, name }) => ({ id, name, runId: run.id })),
    )

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
      openGates: openGatesOf(row),
      spent: spentBy(row),
      capUsd: row.run.instance.capUsd ?? 0,
    }))
  }

  function cancel(tree: Row[]) {
    const marked = tree.filter(({ status }) => !isTerminal(status))
    for (const row of marked) row.cancelRequested = true
    return {
      active: marked.filter((row) => phase(row) === 'executing').map(({ run }) => run.id),
      settled: marked.flatMap((row) => (mayMove('settle', row) ? settle('settle', row, 'cancelled', null) : [])),
    }
  }

  function newRow(run: NewRun, caller: Row['caller'], rootRunId: string): Row {
    return {
      run,
      rootRunId,
      caller,
      status: 'pending',
      fence: 0,
      commits: 0,
      claimed: { atMs: 0, nth: 0 },
      epoch: 0,
      lostLeases: 0,
      dueAtMs: now() + MOVES.accept.sets.dueInMs,
      worker: null,
      cancelRequested: false,
      createdAt: new Date(now()).toISOString(),
      started: false,
      finishedAt: null,
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

  function call(caller: Row, { callerKey, rootRunId, ...own }: ChildRun): void {
    const nothing = { state: null, parentRunId: null, parentVariantIndex: null, retryOf: null, idempotency: null }
    const run: NewRun = { ...own, ...nothing, slots: [], warnings: [], inherited: null }
    if (!definitions.has(run.definitionHash)) definitions.set(run.definitionHash, run.definition)
    const row = newRow(run, { runId: caller.run.id, key: callerKey }, rootRunId)
    rows.set(run.id, row)
    append(row, firstEvents(run, { caller_run_id: caller.run.id }))
  }

  /** Ends a run that no worker executes; what it was still calling can no longer be known. */
  function settle(
    name: 'settle' | 'giveUp',
    row: Row,
    status: 'cancelled' | 'failed',
    error: RunError | null,
  ): RunEvent[] {
    if (below(row.run.id).some((one) => phase(one) === 'executing')) {
      if (mayMove('watch', row)) move('watch', row)
      return []
    }
    for (const one of row.calls.values()) {
      if (one.outcome === 'pending') row.calls.set(one.id, asUnknown(one))
    }
    for (const gate of row.gates.values()) {
      if (gate.status === 'open') row.gates.set(gate.id, { ...gate, status: 'closed' })
    }
    const ended = end(name, row, status, error, false)
    const caller = row.caller === null ? undefined : rows.get(row.caller.runId)
    if (caller === undefined) return ended
    if (phase(caller) === 'joining') return [...ended, ...join(caller).events]
    if (mayMove('wake', caller)) move('wake', caller, { dueInMs: 0 })
    return [...ended, ...settleStopped(caller)]
  }

  /** Ends a cancelled run for which no worker has to be waited. */
  function settleStopped(row: Row): RunEvent[] {
    return row.cancelRequested && mayMove('settle', row) ? settle('settle', row, 'cancelled', null) : []
  }

  /** Ends a run with its terminal event, as the record does. */
  function end(
    name: 'settle' | 'giveUp' | 'join',
    row: Row,
    status: RunStatus,
    error: RunError | null,
    partial: boolean,
  ): RunEvent[] {
    move(name, row, { status })
    Object.assign(row, { error, finishedAt: new Date(now()).toISOString() })
    row.cancelRequested ||= status === 'cancelled'
    const slots = row.run.slots.map(({ id }) => rows.get(id) as Row)
    const ended = endEvent(
      row.run,
      {
        status: status as 'completed' | 'failed' | 'cancelled',
        partial,
        outputs: (slots.length === 0 ? [row] : slots).map(outputOf),
        error,
      },
      runCost(spentBy(row), {
        estimated: row.run.estimatedUsd,
        pricing_version: row.run.definition.pricingVersion,
      }),
    )
    return append(row, [ended])
  }

  function outputOf(row: Row): EndOutput {
    const files = [...row.artifacts.values()].filter(({ status }) => status !== 'draft')
    return {
      index: slotIndexOf(row.caller?.key ?? '') ?? 0,
      workflow: row.run.workflow,
      variant_index: row.run.instance.variantIndex,
      run_id: row.run.id,
      status: row.status,
      output: row.output,
      artifacts: files.map(artifactSummary),
      error: row.error,
    }
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
    if (row?.fence === transition.fence && row.commits >= transition.number) return { outcome: 'committed', events: [] }
    if (row === undefined || !mayMove('finish', row, transition.fence)) return { outcome: 'lost' }
    if (row.cancelRequested && isRefusedByCancel(transition)) return { outcome: 'cancelled' }
    const { end, checkpoints, events, children = [], dayCaps = [] } = transition
    const begun = begunCalls(transition)
    const { organizationId } = row.run
    for (const cap of begun.length === 0 ? [] : dayCaps) {
      const spentUsd = spentToday(organizationId, cap.workflow)
      const wanted = begun.reduce((sum, { estimatedUsd }) => sum + estimatedUsd, spentUsd)
      if (roundUsd(wanted) > cap.maxUsd) return { outcome: 'over-budget', cap, spentUsd }
    }
    for (const { workflow } of dayCaps) {
      for (const { id } of begun) capped.push({ organizationId, workflow, day: today(), runId: row.run.id, callId: id })
    }
    row.commits = transition.number
    write(row, transition)
    for (const child of children) call(row, child)
    if (checkpoints.length > 0) row.lostLeases = 0
    if (end !== undefined) {
      move(MOVE_AT_END[end.status], row, { status: end.status, dueInMs: 'wakeInMs' in end ? end.wakeInMs : null })
      if (isTerminal(row.status)) row.finishedAt = new Date(now()).toISOString()
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
      claimedAt: new Date(now()).toISOString(),
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
        append(slotRow, firstEvents(slotRow.run, { slot: index }))
      }
      return { outcome: 'accepted', runId: run.id, events: append(row, firstEvents(run)) }
    },

    async claim(runId, worker, leaseMs) {
      const row = rows.get(runId)
      if (row === undefined || !mayMove('claim', row)) return null
      const resumed = row.started
      move('claim', row, { worker, dueInMs: leaseMs })
      row.commits = 0
      claims += 1
      row.claimed = { atMs: now(), nth: claims }
      row.started = true
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
    async notify(runIds) {
      const told = runIds.flatMap((runId) => rows.get(runId) ?? [])
      const woken = told.filter((row) => mayMove('wake', row))
      for (const row of woken) move('wake', row, { dueInMs: WOKEN_GRACE_MS })
      const stopped = told.flatMap(settleStopped)
      const joined = told.filter((row) => mayMove('join', row)).map(join)
      return {
        deliveries: woken.map(deliveryOf),
        events: [...stopped, ...joined.flatMap(({ events }) => events)],
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
        if (row === undefined || !mayMove('renew', row, fence)) {
          lost.push(runId)
          continue
        }
        move('renew', row, { dueInMs: leaseMs })
        if (row.cancelRequested) cancelled.push(runId)
      }
      return { lost, cancelled }
    },

    async release(runId, fence) {
      const row = rows.get(runId)
      if (row === undefined || !mayMove('release', row, fence)) return null
      move('release', row)
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
            .filter(({ status }) => status === 'open')
            .filter(({ id, type }) => (gateId === undefined ? type !== DECISION_GATE : id === gateId))
            .filter(({ id }) => (row.expiries.get(id) ?? Number.POSITIVE_INFINITY) > now())
            .sort((a, b) => (a.id < b.id ? -1 : 1))
            .map((gate) => ({ row, gate })),
        )
      const [first] = open
      if (first === undefined) return null
      const { row, gate } = first
      Object.assign(gate, { status: approve ? 'approved' : 'rejected', detail: comment ?? null })
      if (mayMove('wake', row)) move('wake', row, { dueInMs: WOKEN_GRACE_MS })
      for (let up = row.caller; up !== null; up = rows.get(up.runId)?.caller ?? null) {
        const ancestor = rows.get(up.runId)
        if (ancestor === undefined || !mayMove('watch', ancestor)) continue
        move('watch', ancestor)
      }
      return deliveryOf(row)
    },

    async recover(limit) {
      const events: RunEvent[] = []
      const cancelled: string[] = []
      for (const row of movable('expire', limit)) move('expire', row)
      for (const row of movable('alarm', limit)) move('alarm', row)
      for (const row of rows.values()) if ((row.dueAtMs ?? Infinity) <= now()) events.push(...settleStopped(row))
      for (const row of movable('giveUp', limit)) {
        if (row.cancelRequested) events.push(...settle('giveUp', row, 'cancelled', null))
        else events.push(...settle('giveUp', row, 'failed', CRASHED))
        const stopped = cancel(below(row.run.id))
        events.push(...stopped.settled)
        cancelled.push(...stopped.active)
      }
      const { queued = [], joining = [] } = Object.groupBy(movable('recheck', limit).filter(hasTurn), phase)
      for (const row of [...queued, ...joining]) move('recheck', row)
      for (const row of joining) {
        const joined = join(row)
        events.push(...joined.events)
        cancelled.push(...joined.cancelled)
      }
      return { overdue: queued.map(deliveryOf), events, cancelled }
    },

    async requeueAll() {
      for (const row of rows.values()) if (mayMove('requeue', row)) move('requeue', row)
    },

    read(runId) {
      const row = rows.get(runId)
      if (row === undefined) return null
      const { status, fence, error, output, events } = row
      return structuredClone({ status, fence, error, output, events, calls: [...row.calls.values()] })
    },
    runIds: () => [...rows.keys()],
  }
}
