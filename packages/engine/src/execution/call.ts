// A paid call, stage by stage: admitted (priced, within the caps, its intent on record), sent, accepted (the provider's
// id is on record), made (its answer or its links are staged), fetched (its files are ours), booked (with the step).
// Hides what is tried again where: each stage repeats itself, and none goes back to an earlier one that costs money.
import { FabriqueError, isQuantity, type JsonObject, priceOf } from '@fabrique/schema'
import {
  type Catalog,
  type InputFile,
  type MadeFile,
  type Model,
  type Outlook,
  pricedBy,
  type ProducedFile,
  type ProviderAnswer,
  type Providers,
} from '../catalog.ts'
import { backoffMs, type FailureClass, isForGood, StepFailure, TRANSIENT } from '../failure.ts'
import type { ArtifactStore, CallRecord, Clock, FileLink, Inspect, Limits } from '../ports.ts'
import type { Binding, Definition } from '../specification.ts'
import { type Bound, likelyAnswer } from '../template/likely-answer.ts'
import { requestFor } from '../template/parameters.ts'
import { callId } from '../unit-key.ts'
import { asUnknown, bookedAs, booking, type Prices, timed } from './call-bill.ts'
import { storable } from './storable.ts'

/** How often an answer is staged again while the store cannot be reached. */
const STAGE_AGAIN_MS = 1_000
/** The first pause before the provider is asked again for what it has accepted or made: 0.25 s, 0.5 s … 30 s. */
const ASK_AGAIN_MS = 250
const ASK_AGAIN_MS_MAX = 30_000
/** How long that goes on where the step has no time limit of its own. */
const ASK_FOR_MS = 10 * 60_000
/** A request that was asked for this long had good answers, so that a failure begins a new series; not for ever. */
const CALM_MS = 2 * 60_000
const CALM_FOR_MS = 30 * 60_000
/** How often the provider may say that it has no such request, or no such file, before that is believed. */
const DENIALS_MAX = 5
/** After these no other model is asked: it would be refused too, or be paid for the same again. */
const LAST: readonly FailureClass[] = ['refused', 'budget', 'undelivered']
/** How often, and how long, a call is made again for a provider that limits it or is out, whatever the limits say. */
const WAITS_MAX = 1_000
const WAITED_MS_MAX = 3_600_000

export interface CallDeps {
  catalog: Catalog
  providers: Providers
  artifacts: ArtifactStore
  limits: Limits
  inspect: Inspect
  clock: Pick<Clock, 'nowMs' | 'sleep'>
  /** Throws a `budget` failure where the run may not spend this much more. */
  admit(mostUsd: number): void
  /** Makes the call's row durable under the run's fence; rejects when another worker has the run. */
  record(call: CallRecord): Promise<void>
  /** Where a test kills the process. */
  killpoint?: (name: string) => void
}

export interface CallSite {
  runId: string
  definition: Definition
  binding: Binding | undefined
  stepId: string
  stepKey: string
  attempt: number
  seed: number
  signal: AbortSignal
  /** The step's, within which `signal` aborts. */
  timeLimitMs?: number | undefined
  /** Whether a call that may have been charged is simply made again. */
  asksAgain: boolean
  /** Calls of this step key that earlier executions or attempts left on the books. */
  earlier: CallRecord[]
  onProgress: (payload: JsonObject) => void
}

/** A call that has an answer; its `record` must be committed with whatever the answer leads to. */
export interface SettledCall {
  record: CallRecord
  answer: ProviderAnswer
}

type Wait = NonNullable<Parameters<Limits['enter']>[2]>

/** What a call is made of, at every stage. */
interface Asked {
  model: Model
  request: JsonObject
  files: Record<string, InputFile>
  /** The model's own; a step's comes before it. */
  timeLimitMs: number | undefined
}

/** What a bound model is asked, in its own words; undefined for a model that this worker does not know. */
function askedOf(
  { catalog }: Pick<CallDeps, 'catalog'>,
  { definition }: Pick<CallSite, 'definition'>,
  bound: Pick<Binding['models'][number], 'model' | 'mapped' | 'timeLimitMs' | 'usual'>,
  request: JsonObject,
  files: Record<string, InputFile>,
): Asked | undefined {
  const model = catalog.model(bound.model)
  if (model === undefined) return undefined
  const { timeLimitMs, usual } = bound
  return { model: pricedBy(definition.rates, model, usual), request: requestFor(bound, request), files, timeLimitMs }
}

/**
 * Makes one call of a binding, trying its models in order; each attempt is a ledger row. A provider that limits the rate
 * of requests is waited for, unless another model can be asked.
 * Throws `StepFailure` of the last model, with the failed rows already durable.
 */
export async function callModel(
  deps: CallDeps,
  site: CallSite,
  request: JsonObject,
  files: Record<string, InputFile>,
): Promise<SettledCall> {
  const { binding, asksAgain } = site
  if (binding === undefined || binding.models.length === 0) {
    throw new StepFailure('invalid', `Step "${site.stepId}" has no model to call.`)
  }
  const interrupted = site.earlier.find((call) => call.outcome === 'pending')
  if (interrupted !== undefined) {
    const recovered = await recover(deps, site, interrupted, request, files)
    if (recovered !== null) return recovered
  }
  if (!asksAgain && site.earlier.some(({ outcome }) => outcome === 'unknown')) throw unknownOutcome()
  const asked = binding.models.map((bound) => {
    const one = askedOf(deps, site, bound, request, files)
    if (one === undefined) throw new StepFailure('invalid', `This worker does not know the model "${bound.model}".`)
    return { asked: one, simulated: bound.simulated }
  })
  let failure: StepFailure | undefined
  let waited = 0
  const sinceMs = deps.clock.nowMs()
  for (let index = 0; index < asked.length; ) {
    const { asked: one, simulated } = asked[index] as (typeof asked)[number]
    const isLast = index === asked.length - 1
    try {
      return await makeCall(deps, site, one, simulated, { patient: isLast, sinceMs })
    } catch (error) {
      if (!StepFailure.is(error)) throw error
      // Stopped, and to be asked for by its id: its outcome is not unknown, only not there yet.
      if (site.earlier.some(({ outcome }) => outcome === 'pending')) throw error
      if (error.billed === 'unknown' && !asksAgain && error.failureClass !== 'undelivered') throw unknownOutcome(error)
      failure = error
      const isPaidMistake = error.failureClass === 'invalid' && error.billed === 'yes'
      if (site.signal.aborted || isPaidMistake || LAST.includes(error.failureClass)) break
      const reason = simulated ? null : waitsFor(deps, one.model, error)
      if (isLast && reason !== null && waited < WAITS_MAX && deps.clock.nowMs() - sinceMs < WAITED_MS_MAX) {
        site.onProgress({ waits_for: reason, retry_after_ms: error.retryAfterMs ?? null })
        waited += 1
      } else index += 1
    }
  }
  throw failure ?? new StepFailure('internal', 'The call had no outcome.')
}

/** What a call that failed waits for, without using up an attempt: its provider's limit, or a model that is out; else null. */
function waitsFor({ limits }: CallDeps, model: Model, { failureClass, billed }: StepFailure): string | null {
  if (failureClass === 'rate_limit') return 'rate-limit'
  return failureClass === 'server' && billed === 'no' && limits.isOut?.(model) === true ? 'outage' : null
}

/** One call of one model: its own row, from the intent to the answer. */
async function makeCall(deps: CallDeps, site: CallSite, asked: Asked, simulated: boolean, wait: Wait) {
  // Nothing is paid for that could not be kept.
  await deps.artifacts.ready()
  const record = intent(site, asked, simulated, deps)
  deps.admit(mostUsd(deps, site, asked, record))
  // Reserved before it is recorded, so that concurrent calls see what is left.
  site.earlier.push(record)
  let isRecorded = false
  try {
    return await withPermit(deps, site, asked.model, simulated, wait, async () => {
      await deps.record(record)
      isRecorded = true
      deps.killpoint?.('W3')
      return await complete(deps, site, asked, record, null)
    })
  } catch (error) {
    if (!isRecorded) site.earlier.splice(site.earlier.indexOf(record), 1)
    throw error
  }
}

/** Does the work under a permit of the limits that all workers share; a simulated call needs none. */
async function withPermit<Result>(
  { limits }: CallDeps,
  site: CallSite,
  model: Model,
  simulated: boolean,
  wait: Wait,
  work: () => Promise<Result>,
): Promise<Result> {
  if (simulated) return await work()
  const release = await limits.enter(model, site.signal, wait)
  try {
    const result = await work()
    release(null)
    return result
  } catch (error) {
    release(error instanceof Error ? error : new Error('the call failed'))
    throw error
  }
}

/** What the call may cost at most: the caps are held against that, while what is likely is reserved. */
function mostUsd({ catalog, clock }: CallDeps, site: CallSite, { model, request, files }: Asked, record: CallRecord) {
  const usages =
    catalog.provider(model.provider)?.expectedUsage(model, request, outlookOf(request, files, 'high')) ?? []
  return Math.max(priceOf(site.definition.rates, model.name, timed(clock.nowMs(), usages)) ?? 0, record.estimatedUsd)
}

/** What is known of a request before it is sent. */
function outlookOf(request: JsonObject, files: Asked['files'], at: Bound): Outlook {
  return { at, answer: likelyAnswer(request, at).text, files: Object.values(files).map(({ record }) => record) }
}

function intent(site: CallSite, { model, request, files }: Asked, simulated: boolean, deps: CallDeps): CallRecord {
  const outlook = outlookOf(request, files, 'expected')
  const usages = timed(
    deps.clock.nowMs(),
    deps.catalog.provider(model.provider)?.expectedUsage(model, request, outlook) ?? [],
  )
  const odd = usages.find(({ quantity }) => !isQuantity(quantity))
  if (odd !== undefined) {
    const what = `The request asks "${model.name}" for an amount in ${odd.unit}s that no call can have.`
    throw new StepFailure('invalid', `${what} Check the sizes, numbers and durations that it gives.`, {
      code: 'invalid-amount',
    })
  }
  const estimated = priceOf(site.definition.rates, model.name, usages)
  if (estimated === null) {
    throw new StepFailure('invalid', `The run's price list has no rate for this call of "${model.name}".`, {
      code: 'unpriced',
    })
  }
  return {
    id: callId(site.runId, site.stepKey, site.earlier.length + 1),
    stepKey: site.stepKey,
    stepId: site.stepId,
    attempt: site.attempt,
    provider: model.provider,
    operation: model.operation,
    model: model.name,
    outcome: 'pending',
    status: 'estimated',
    requestId: null,
    ...bookedAs(site.definition.rates, model.name, usages, estimated),
    estimatedUsd: estimated,
    actualUsd: null,
    simulated,
    pricingVersion: site.definition.pricingVersion,
    bill: null,
  }
}

/** Goes on with a call that an earlier execution left behind, at the stage that it had reached. */
async function recover(
  deps: CallDeps,
  site: CallSite,
  record: CallRecord,
  request: JsonObject,
  files: Record<string, InputFile>,
): Promise<SettledCall | null> {
  const staged = await deps.artifacts.staged(record.id)
  const bound = site.binding?.models.find(({ model }) => model === record.model) ?? { model: record.model }
  const asked = askedOf(deps, site, bound, request, files)
  if (staged !== null && (staged.links === undefined || asked === undefined)) return settle(deps, site, record, staged)
  if (asked !== undefined && (staged !== null || record.requestId !== null)) {
    return await withPermit(deps, site, asked.model, record.simulated, { patient: true }, () =>
      complete(deps, site, asked, record, staged),
    )
  }
  // The process died between sending and saving: whether the provider charged for it cannot be known.
  const unknown = asUnknown(record)
  await deps.record(unknown)
  site.earlier[site.earlier.indexOf(record)] = unknown
  if (site.asksAgain) return null
  throw unknownOutcome()
}

function unknownOutcome(cause?: StepFailure): StepFailure {
  return new StepFailure('unknown_outcome', 'A provider call was interrupted and its outcome is not known.', {
    billed: 'unknown',
    cause,
    ...(cause?.provider === undefined ? {} : { provider: cause.provider }),
  })
}

/** Brings a call that is on record to its answer; where it fails, its row says what that cost. */
async function complete(
  deps: CallDeps,
  site: CallSite,
  asked: Asked,
  record: CallRecord,
  staged: ProviderAnswer | null,
): Promise<SettledCall> {
  let sent = record
  let made = staged
  const update = async (change: Partial<CallRecord>) => {
    const changed = { ...sent, ...change }
    await deps.record(changed)
    site.earlier[site.earlier.indexOf(sent)] = changed
    sent = changed
  }
  try {
    if (made === null) {
      made = storableAnswer(await askUntilMade(deps, site, asked, () => sent, update))
      deps.killpoint?.('W5')
      await stage(deps, site, record.id, made)
    }
    if (made.links !== undefined) {
      made = await measured(deps, asked, await fetchLinks(deps, site, asked.model, sent, made))
      await stage(deps, site, record.id, made)
    }
    return settle(deps, site, sent, made)
  } catch (error) {
    if (!StepFailure.is(error)) throw error
    const isStopped = site.signal.aborted && !isForGood(site.signal)
    // A stopped call that can be asked for again stays pending: the next execution goes on with it.
    if (isStopped && (sent.requestId !== null || made !== null)) throw error
    const isCancelled = site.signal.aborted && !isOutOfTime(site)
    const failed = error.billed === 'unknown' ? 'unknown' : isCancelled ? 'cancelled' : 'failed'
    const outcome = made === null ? failed : 'succeeded'
    await update({ outcome, ...booking(pricesOf(deps, site), sent, made ?? error.facts, error.billed, error.provider) })
    throw error
  }
}

/** Sends the request once; once the provider has accepted it, asks for its result by its id until there is one. */
async function askUntilMade(
  deps: CallDeps,
  site: CallSite,
  { model, request, files, timeLimitMs }: Asked,
  sent: () => CallRecord,
  update: (change: Partial<CallRecord>) => Promise<void>,
): Promise<ProviderAnswer> {
  const begunMs = deps.clock.nowMs()
  let patience = createPatience(deps, site)
  for (;;) {
    const { id, simulated, requestId } = sent()
    const askedMs = deps.clock.nowMs()
    try {
      return await deps.providers.call(simulated, {
        model,
        request,
        files,
        seed: site.seed,
        callId: id,
        signal: site.signal,
        timeLimitMs: site.timeLimitMs ?? timeLimitMs,
        askedForMs: askedMs - begunMs,
        resumeId: requestId,
        onRequestId: (accepted) => update({ requestId: accepted }),
        onProgress: site.onProgress,
      })
    } catch (error) {
      if (!StepFailure.is(error) || sent().requestId === null || error.isFinal || error.failureClass === 'refused')
        throw error
      const isDenial = !TRANSIENT.includes(error.failureClass)
      const wasCalm = deps.clock.nowMs() - askedMs > CALM_MS && askedMs - begunMs < CALM_FOR_MS
      if (wasCalm) patience = createPatience(deps, site)
      if (await patience.lasts(isDenial, error.retryAfterMs)) continue
      if (isOutOfTime(site)) throw notInTime(error)
      throw site.signal.aborted ? error : undelivered('its result cannot be had', error)
    }
  }
}

/** An answer that a run can keep; the failure of one that it cannot keep says what it used. */
function storableAnswer(answer: ProviderAnswer): ProviderAnswer {
  try {
    return storable(answer)
  } catch (error) {
    if (!StepFailure.is(error)) throw error
    const { output: _, files: __, links: ___, reported: ____, ...facts } = answer
    throw new StepFailure('invalid', error.message, { billed: 'yes', code: error.code, facts })
  }
}

/** Fetches what the provider has made and still holds. */
async function fetchLinks(
  deps: CallDeps,
  site: CallSite,
  model: Model,
  { simulated }: CallRecord,
  { links = [], ...made }: ProviderAnswer,
): Promise<ProviderAnswer> {
  const files: ProducedFile[] = []
  for (const link of links) files.push(await fetchLink(deps, site, model, simulated, link))
  return { ...made, files: [...made.files, ...files] }
}

/** The answer with its use measured by its files, where nothing better is known. */
async function measured(
  { catalog, inspect }: Pick<CallDeps, 'catalog' | 'inspect'>,
  { model, request }: Asked,
  made: ProviderAnswer,
): Promise<ProviderAnswer> {
  const provider = catalog.provider(model.provider)
  if (made.basis !== 'expected' || provider?.measure === undefined) return made
  const files: MadeFile[] = []
  for (const { bytes, mimeType } of made.files) {
    const found = await inspect(bytes, mimeType).catch(() => null)
    // Refused when it is stored; it is paid for all the same.
    if (found === null) return made
    files.push(found)
  }
  const usage = provider.measure(model, request, files)
  return usage === null ? made : { ...made, usage, basis: 'measured' }
}

async function fetchLink(
  deps: CallDeps,
  site: CallSite,
  model: Model,
  simulated: boolean,
  link: FileLink,
): Promise<ProducedFile> {
  const patience = createPatience(deps, site)
  for (;;) {
    try {
      if (deps.providers.fetch === undefined) throw new Error('the provider hands over no links')
      return await deps.providers.fetch(simulated, model, link, site.signal)
    } catch (error) {
      if (!StepFailure.is(error)) throw error
      const isDenial = error.code === 'file-gone' || !TRANSIENT.includes(error.failureClass)
      if (await patience.lasts(isDenial, error.retryAfterMs)) continue
      const isStopped = site.signal.aborted && !isOutOfTime(site)
      throw isStopped ? error : undelivered(`the file "${link.name}" cannot be fetched`, error)
    }
  }
}

/** How long one stage is tried again: with growing pauses, by the step's time limit or for ten minutes of failures. */
function createPatience({ clock }: CallDeps, { signal, timeLimitMs = ASK_FOR_MS }: CallSite) {
  let untilMs: number | undefined
  let tries = 0
  let denials = 0
  return {
    /** Pauses before another try; false where there is none. */
    async lasts(isDenial: boolean, retryAfterMs = 0): Promise<boolean> {
      untilMs ??= clock.nowMs() + timeLimitMs
      tries += 1
      denials = isDenial ? denials + 1 : 0
      const pauseMs = Math.max(retryAfterMs, Math.min(backoffMs(tries, ASK_AGAIN_MS), ASK_AGAIN_MS_MAX))
      if (signal.aborted || denials >= DENIALS_MAX || clock.nowMs() + pauseMs > untilMs) return false
      await clock.sleep(pauseMs, signal).catch(() => {})
      return !signal.aborted
    },
  }
}

function isOutOfTime({ signal }: CallSite): boolean {
  return signal.aborted && signal.reason === 'deadline'
}

/** Nobody will ask for what the provider has not finished in the step's time, nor is it made again. */
function notInTime(cause: StepFailure): StepFailure {
  return new StepFailure('undelivered', 'The provider did not finish the request within the time of the step.', {
    billed: cause.billed === 'no' ? 'no' : 'yes',
    code: 'result-timeout',
    cause,
    ...(cause.provider === undefined ? {} : { provider: cause.provider }),
  })
}

function undelivered(what: string, cause: StepFailure): StepFailure {
  return new StepFailure('undelivered', `The call was made and is paid for, but ${what}: ${cause.message}`, {
    billed: 'yes',
    code: 'result-gone',
    cause,
    ...(cause.provider === undefined ? {} : { provider: cause.provider }),
    ...(cause.facts === undefined ? {} : { facts: cause.facts }),
  })
}

/** Stages an answer, again until the store takes it: it is paid for and lies nowhere else. */
async function stage({ artifacts, clock }: CallDeps, { signal }: CallSite, id: string, answer: ProviderAnswer) {
  for (;;) {
    try {
      return await artifacts.stage(id, answer)
    } catch (error) {
      if (!FabriqueError.is(error, 'unavailable') || signal.aborted) throw error
      await clock.sleep(STAGE_AGAIN_MS, signal).catch(() => {})
    }
  }
}

function settle(deps: CallDeps, site: CallSite, record: CallRecord, answer: ProviderAnswer): SettledCall {
  const settled: CallRecord = {
    ...record,
    outcome: 'succeeded',
    ...booking(pricesOf(deps, site), record, answer, 'yes'),
  }
  site.earlier[site.earlier.indexOf(record)] = settled
  return { record: settled, answer }
}

function pricesOf({ clock }: CallDeps, { definition }: CallSite): Prices {
  return { rates: definition.rates, nowMs: clock.nowMs() }
}
