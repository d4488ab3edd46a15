// What the engine can do, as a value: step kinds, tools, providers and gates, each one file and one line to register.
// Hides the look-up; templates are checked against the same catalog that workers run.
import type {
  ArtifactSchema,
  Gate,
  JsonObject,
  JsonValue,
  Lookup,
  ModelRow,
  Rate,
  Step,
  Unit,
  Usage,
} from '@fabrique/schema'
import type { z } from 'zod'
import type { ArtifactRecord, FileLink, Inspect, StagedAnswer } from './ports.ts'
import type { Bound } from './template/likely-answer.ts'

export type Capability = ModelRow['capability']

/** A model that a provider offers under `provider/name`. */
export interface Model {
  /** As templates write it: `openai/gpt-image-2`. */
  name: string
  provider: string
  capability: Capability
  /** The provider's own name for it. */
  endpoint: string
  /** What the ledger calls the call: `images.generate`. */
  operation: string
  /** Parameters that the name implies, below what a template says. */
  defaults?: JsonObject
  /** The units that the price list has rates in; absent where it is not known, or has none. */
  pricedIn?: readonly Unit[]
  /** What the price list says that a request takes which says nothing. */
  usual?: JsonObject
}

const unitsOf = new WeakMap<readonly Rate[], Map<string, Set<Unit>>>()

/** A model with what the price list says of it. */
export function pricedBy(rates: readonly Rate[], model: Model, usual?: JsonObject): Model {
  const units = unitsOf.get(rates) ?? new Map<string, Set<Unit>>()
  if (!unitsOf.has(rates))
    for (const { model: name, unit } of rates) units.set(name, (units.get(name) ?? new Set()).add(unit))
  unitsOf.set(rates, units)
  const pricedIn = units.get(model.name)
  return { ...model, ...(pricedIn && { pricedIn: [...pricedIn] }), ...(usual && { usual }) }
}

/** A file that a call or tool made, before the engine verifies, hashes and stores it. */
export interface ProducedFile {
  name: string
  mimeType: string
  bytes: Uint8Array
}

/** An artifact of this run, opened for reading. */
export interface InputFile {
  record: ArtifactRecord
  bytes: Uint8Array
}

export interface ProviderRequest {
  model: Model
  /** What the model is asked, by capability: `prompt`, `system`, `params`, `args`, `outputSchema`. */
  request: JsonObject
  files: Record<string, InputFile>
  /** Tells variants of a run apart; absent is 0. The same request with the same seed is the same request. */
  seed?: number
  /** Stable across retries of the same attempt: providers that know idempotency keys get it. */
  callId: string
  /** When `isForGood`, what is under way is given up at the provider too. */
  signal: AbortSignal
  /** The step's own time limit, else the model's; absent: what is usual for the provider. The signal ends the call in any case. */
  timeLimitMs?: number | undefined
  /** How long the result has been asked for before; a provider's usual limit is for all of it. */
  askedForMs?: number
  /** Set where the provider has accepted this request before: ask for its result, and never send a new one. */
  resumeId: string | null
  /** Makes the provider's own name of the request durable before anything is waited for. */
  onRequestId(requestId: string): Promise<void>
  onProgress(payload: { [key: string]: JsonValue }): void
}

/** A provider's answer. Failures are thrown as `StepFailure`; anything else thrown is a bug. */
export type ProviderAnswer = StagedAnswer

/** What a provider offers; talking to it needs a `ProviderClient`. */
export interface Provider {
  name: string
  /** The model of that name, or undefined if this provider has none. */
  model(name: string): Model | undefined
  /** What one request is expected to use, before it is sent; priced by the rate table. */
  expectedUsage(model: Model, request: JsonObject, outlook?: Outlook): Usage[]
  /** As `Tool.makes`, of the files that it answers a request with. */
  makes?(model: Model, request: JsonObject): string | undefined
  /** What it says of a request itself, so that parameters there would not be heard: where, and what to write instead. */
  reserved?(model: Model, request: JsonObject): { path: string[]; instead: string }[]
  /** What a request used whose answer is only `expected` to have used something, by all that it made; null where that does not tell. */
  measure?(model: Model, request: JsonObject, made: readonly MadeFile[]): Usage[] | null
}

/** What a file turned out to be. */
export type MadeFile = Awaited<ReturnType<Inspect>>

/** What is known of a request beside what it says; `expected` with no more than that where it is absent. */
export interface Outlook {
  at: Bound
  /** The text that a text model answers. */
  answer: string
  /** The files that it is given. */
  files: readonly MadeFile[]
}

/**
 * One way to reach a provider, live or simulated. Never repeats a request that may cost something: the engine is the
 * only one who does. A failure after `onRequestId` makes it call again with `resumeId`, unless the failure is final.
 */
export interface ProviderClient {
  call(request: ProviderRequest): Promise<ProviderAnswer>
  /** Fetches a file that an answer links to; fails with the code `file-gone` where it exists no more. */
  fetch?(link: FileLink, signal: AbortSignal): Promise<ProducedFile>
}

/** The live or the simulated twin of a provider, as a binding asks; the engine does not know which. */
export interface Providers {
  call(simulated: boolean, request: ProviderRequest): Promise<ProviderAnswer>
  /** As `ProviderClient.fetch`, by the client of this model. */
  fetch?(simulated: boolean, model: Model, link: FileLink, signal: AbortSignal): Promise<ProducedFile>
  /** Why a model cannot be called here, for want of a program; null where it can. */
  missing?(model: Model, simulated: boolean): string | null
}

/** What a kind or tool may do while it runs. */
export interface StepContext {
  signal: AbortSignal
  /** Calls a model of the step's binding, in fallback order, with the whole discipline of paid calls. */
  call(request: JsonObject, files?: Record<string, InputFile>): Promise<ProviderAnswer>
  /** Opens an artifact of this run by a reference found in resolved fields; fails on anything else. */
  open(reference: JsonValue | undefined, field: string): Promise<InputFile>
  /** Verifies, hashes and stores a file; answers the reference to put into the output. */
  store(file: ProducedFile): Promise<JsonObject>
  progress(payload: { [key: string]: JsonValue }): void
  /**
   * Does a part of the step once: its result is durable before this answers, together with what it paid and made,
   * and a later execution or attempt gets the same result without doing the work again. `name` is unique in the step.
   */
  once(name: string, work: () => Promise<JsonValue>): Promise<JsonValue>
  /** Runs the step's sub-workflow with this input and answers its output. The step rests until that run has ended. */
  callWorkflow(input: JsonObject): Promise<JsonObject>
  /**
   * Makes a JSON Schema of the template ready, each once however often it is met. Fails as `invalid` where it cannot be
   * used, so ask before anything is paid. The answer is the value with the schema's defaults; it fails as `bad_output`,
   * with the places, where the value does not fit.
   */
  schema(schema: JsonObject): Promise<(value: JsonValue) => Promise<JsonValue>>
  /** The tool a step names, where it is a local one. */
  tool(name: string): Tool | undefined
}

/**
 * A kind of step. `fields` are its own fields (strict); strings under `renders` are templates, resolved before `run`.
 * A kind is pure but for its context.
 */
export interface StepKind {
  kind: string
  fields: z.ZodType
  /** Own fields that hold placeholders. `text` fields must render to text and feed the prompt resolution gate. */
  renders: { field: string; as: 'text' | 'value' }[]
  /** First keys of the output, so that a typo in `{steps.x.output.typo}` is found before listing. */
  outputKeys(step: Step, tool: Tool | undefined): readonly string[] | null
  /** The capability that the step's model must have, or null for a kind without a model. */
  capability(step: Step): Capability[] | null
  /** What the provider is asked with these fields, which may be unrendered: for estimates. */
  expects(fields: Record<string, unknown>): JsonObject
  run(fields: JsonObject, context: StepContext): Promise<JsonValue>
}

/** A local tool: unmetered work on values and files. */
export interface Tool {
  name: string
  /** What it does, in a sentence: an agent chooses by it. */
  description: string
  args: z.ZodType
  outputKeys: readonly string[]
  /** The media type of its file, as far as arguments tell before they are rendered; `image/*` where only the class is known. */
  makes?(args: JsonObject): string | undefined
  /** A program or library that must be present; its absence is `tool-unavailable` at submit. */
  missing?(): string | null
  /** Its output beforehand, where that follows from the arguments alone; absent: a file. */
  foresees?(args: JsonObject): JsonValue
  run(args: JsonObject, context: StepContext): Promise<JsonValue>
}

/** What a gate is shown after a step. */
export interface StepEvidence {
  gate: Gate
  step: Step
  model: Model | null
  artifacts: { record: ArtifactRecord; bytes: Uint8Array }[]
  output: JsonValue
  /** Calls the gate's own model, with the whole discipline of paid calls. */
  ask(request: JsonObject, files: Record<string, InputFile>): Promise<ProviderAnswer>
}

/** What a gate is shown at the end of a run. */
export interface EndEvidence {
  artifactSchema: ArtifactSchema
  files: { role: string; mimeType: string; found: ArtifactRecord | null }[]
  read(record: ArtifactRecord): Promise<Uint8Array>
}

/** A verdict's `detail` may be shown to operators. */
export type Verdict = { passed: true } | { passed: false; detail: string }

/**
 * A kind of gate, by where it stands: `before-call` judges prompts, `after-step` outputs, `end` the finished run.
 * `condition` asks its expression behind its step, or at the end; `spending` caps what the run spends;
 * `review` waits for a person.
 */
export type GateKind = {
  type: string
  name: string
  /** Fields of its own beside the common ones; absent: none. */
  fields?: z.ZodObject
  /** Judges one step only, so that `after` must name it. */
  needsStep?: boolean
  /** The model that it asks itself. */
  model?(gate: Gate): string
  /** The capabilities that such a model may have. */
  capability?: Capability[]
} & (
  | { stands: 'before-call' | 'review' }
  | { stands: 'condition'; expression(gate: Gate): string }
  | { stands: 'spending'; limitUsd(gate: Gate): number }
  | {
      stands: 'after-step'
      applies(step: Step, model: Model | null): boolean
      judge(evidence: StepEvidence): Promise<Verdict>
    }
  | { stands: 'end'; judge(evidence: EndEvidence): Promise<Verdict> }
)

export interface Catalog {
  kind(name: string): StepKind | undefined
  tool(name: string): Tool | undefined
  model(name: string): Model | undefined
  provider(name: string): Provider | undefined
  gate(type: string): GateKind | undefined
  names: { kinds: string[]; tools: string[]; gates: string[]; providers: string[] }
}

function index<T>(what: string, items: readonly T[], nameOf: (item: T) => string): Map<string, T> {
  const map = new Map<string, T>()
  for (const item of items) {
    if (map.has(nameOf(item))) throw new Error(`two ${what} are called "${nameOf(item)}"`)
    map.set(nameOf(item), item)
  }
  return map
}

/** A catalog of these parts; a name used twice throws at start. */
export function createCatalog(parts: {
  kinds: readonly StepKind[]
  tools: readonly Tool[]
  providers: readonly Provider[]
  gates: readonly GateKind[]
}): Catalog {
  const kinds = index('step kinds', parts.kinds, (kind) => kind.kind)
  const tools = index('tools', parts.tools, (tool) => tool.name)
  const providers = index('providers', parts.providers, (provider) => provider.name)
  const gates = index('gates', parts.gates, (gate) => gate.type)
  return {
    kind: (name) => kinds.get(name),
    tool: (name) => tools.get(name),
    provider: (name) => providers.get(name),
    gate: (type) => gates.get(type),
    model: (name) => providers.get(name.split('/')[0] ?? '')?.model(name),
    names: {
      kinds: [...kinds.keys()],
      tools: [...tools.keys()],
      gates: [...gates.keys()],
      providers: [...providers.keys()],
    },
  }
}

/** The model names a step can be served by, in order: its own `model` or `tool`, or the role's list. */
export function modelNamesOf(
  step: Step,
  providers: Record<string, string | string[]>,
): { role?: string; lookup?: Lookup; names: string[] } {
  const own = step.model ?? (typeof step.tool === 'string' && step.tool.includes('/') ? step.tool : undefined)
  if (typeof own === 'string') {
    const name = /^\{lookup\.([A-Za-z0-9_-]+)\}$/.exec(own)?.[1]
    const lookup = name !== undefined && Object.hasOwn(step.lookups ?? {}, name) ? step.lookups?.[name] : undefined
    if (lookup === undefined) return { names: [own] }
    return { lookup, names: [...new Set([...Object.values(lookup.map), lookup.default])] }
  }
  if (typeof step.provider !== 'string') return { names: [] }
  const routed = Object.hasOwn(providers, step.provider) ? providers[step.provider] : undefined
  return { role: step.provider, names: routed === undefined ? [] : [routed].flat() }
}

export type { Gate }
