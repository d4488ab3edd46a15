// What happens to a run: the kinds, and the one event object of SSE, the JSON list, webhooks and the CLI.
// Hides nothing: this is the outside shape, with what each kind tells.
import { z } from 'zod'
import { Artifact, ArtifactSummary } from './artifact.ts'
import { Instant, JsonRecord, type JsonObject } from './json.ts'
import { RunCost, RunError, RunGate, RunOutput, RunStatusSchema } from './run.ts'

export const EVENT_KINDS = [
  'workflow.run.created',
  'workflow.run.queued',
  'workflow.run.started',
  'workflow.run.waiting',
  'workflow.run.completed',
  'workflow.run.failed',
  'workflow.run.cancelled',
  'workflow.node.started',
  'workflow.node.progress',
  'workflow.node.completed',
  'workflow.node.failed',
  'workflow.node.skipped',
  'workflow.node.retrying',
  'workflow.artifact.created',
] as const
export type EventKind = (typeof EVENT_KINDS)[number]

const TERMINAL_KINDS: readonly EventKind[] = ['workflow.run.completed', 'workflow.run.failed', 'workflow.run.cancelled']

/** True for the one event that ends a run's log. */
export function isTerminalKind(kind: EventKind): boolean {
  return TERMINAL_KINDS.includes(kind)
}

/** An output as a terminal event has it. */
export const EndOutput = RunOutput.extend({ artifacts: z.array(z.union([Artifact, ArtifactSummary])) })
export type EndOutput = z.infer<typeof EndOutput>

/** The event that ends a run: the whole outcome, so that whoever hears it has nothing left to ask. */
export function endEvent(
  run: { state: JsonObject | null; metadata: JsonObject },
  end: {
    status: 'completed' | 'failed' | 'cancelled'
    partial: boolean
    outputs: EndOutput[]
    error: RunError | null
  },
  cost: RunCost,
): { kind: EventKind; payload: JsonObject } {
  const { status, partial, outputs, error } = end
  const { state, metadata } = run
  return {
    kind: `workflow.run.${status}`,
    payload: { status, partial, state, metadata, outputs, cost, error },
  }
}

/** What every run's log begins with. */
export const FIRST_KINDS = ['workflow.run.created', 'workflow.run.queued'] as const

/** The events of `FIRST_KINDS`; `place` is what they say beside the run's own. */
export function firstEvents(
  { workflow, priority }: { workflow: string; priority: number },
  place: JsonObject = {},
): { kind: EventKind; payload: JsonObject }[] {
  return FIRST_KINDS.map((kind) => ({ kind, payload: { status: 'pending', workflow, priority, ...place } }))
}

/** The event of a run that waits for a person to decide these gates. */
export function waitingEvent(gates: { id: string; name: string; run_id: string }[]): {
  kind: EventKind
  payload: JsonObject
} {
  const detail = `Waiting for a decision: ${gates.map(({ name }) => name).join(', ')}.`
  return { kind: 'workflow.run.waiting', payload: { status: 'waiting', gates, detail } }
}

const envelope = {
  id: z.string().describe('A ULID, unique to the event; as `webhook-id` the same in every attempt.'),
  seq: z.int().describe('Counts per run from 1, without gaps.'),
  kind: z.enum(EVENT_KINDS),
  run_id: z.string(),
  root_run_id: z.string(),
  node_key: z.string().exactOptional().describe('A step, an item of one, or a slot: `draw`, `draw[2]`, `slots/0`.'),
  timestamp: Instant,
}

/** An event, its payload as any object: what programs pass on. */
export const RunEvent = z.object({ ...envelope, payload: JsonRecord })
export type RunEvent = z.infer<typeof RunEvent>

const Accepted = z.object({
  status: z.literal('pending'),
  workflow: z.string(),
  priority: z.int(),
  slot: z.int().exactOptional().describe('The index of a slot, in its own log.'),
  caller_run_id: z.string().exactOptional().describe('The run whose step called this one.'),
})
const Ended = z.object({
  status: RunStatusSchema,
  partial: z.boolean(),
  state: JsonRecord.nullable(),
  metadata: JsonRecord,
  outputs: z.array(EndOutput),
  cost: RunCost,
  error: RunError.nullable(),
})
const StepFacts = z.object({ step: z.string() })
const StepEnd = StepFacts.extend({ attempt: z.int(), simulated: z.boolean() })
const SlotFacts = z.object({ slot: z.int(), run_id: z.string(), workflow: z.string() })
const SlotEnd = SlotFacts.extend({ status: RunStatusSchema })

const PAYLOADS: Record<EventKind, z.ZodObject | readonly [step: z.ZodObject, slot: z.ZodObject]> = {
  'workflow.run.created': Accepted,
  'workflow.run.queued': Accepted,
  'workflow.run.started': z.object({ status: z.literal('running') }),
  'workflow.run.waiting': z.object({
    status: z.literal('waiting'),
    gates: z.array(RunGate.pick({ id: true, name: true }).extend({ run_id: z.string() })),
    detail: z.string(),
  }),
  'workflow.run.completed': Ended,
  'workflow.run.failed': Ended,
  'workflow.run.cancelled': Ended,
  'workflow.node.started': [
    StepFacts.extend({ kind: z.string(), index: z.int().exactOptional().describe('Of an item of a forEach.') }),
    SlotFacts,
  ],
  'workflow.node.progress': StepFacts.loose(),
  'workflow.node.completed': [StepEnd, SlotEnd],
  'workflow.node.failed': [StepEnd.extend({ error: RunError }), SlotEnd.extend({ error: RunError.nullable() })],
  'workflow.node.skipped': [StepEnd, SlotEnd],
  'workflow.node.retrying': StepFacts.extend({ attempt: z.int(), delay_ms: z.number(), error: RunError }),
  'workflow.artifact.created': ArtifactSummary,
}

/** The payload of a kind, with `extra` fields beside its own. */
export function payloadOf(kind: EventKind, extra: z.ZodRawShape = {}): z.ZodType {
  const payloads = [PAYLOADS[kind]].flat().map((payload) => payload.extend(extra))
  return payloads.length === 1 ? (payloads[0] as z.ZodObject) : z.union(payloads)
}

/** An event with the payload of its kind: for the description of the API and for tests. */
export const Event = z
  .union(EVENT_KINDS.map((kind) => z.object({ ...envelope, kind: z.literal(kind), payload: payloadOf(kind) })))
  .meta({ id: 'Event', description: 'What happened to a run. The kind decides what the payload is.' })
