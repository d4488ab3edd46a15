// The discipline of a paid call: intent durable before it is sent, answer staged before it is used, outcome booked
// with the step. Hides recovery: an interrupted call is adopted, looked up, or booked as unknown, never just repeated.
import { FabriqueError, findRate, type JsonObject, priceOf, type Rate, type Usage } from '@fabrique/schema'
import type { Catalog, InputFile, Model, ProviderAnswer, Providers } from '../catalog.ts'
import { StepFailure } from '../failure.ts'
import type { ArtifactStore, CallRecord, Clock, Limits } from '../ports.ts'
import type { Binding, Definition } from '../specification.ts'
import { callId } from '../unit-key.ts'

/** How often an answer is staged again while the store cannot be reached. */
const STAGE_AGAIN_MS = 1_000

/** The ledger's three columns for what was used: one usage as it is, several as one request of their sum. */
function bookedAs(rates: readonly Rate[], model: string, usages: readonly Usage[], totalUsd: number | null) {
  const [only, ...more] = usages
  if (only === undefined || more.length > 0) return { quantity: 1, unit: 'request' as const, unitPriceUsd: totalUsd }
  const rate = findRate(rates, model, only)
  return { quantity: only.quantity, unit: only.unit, unitPriceUsd: rate?.unit_price_usd ?? null }
}

/** A call whose answer no execution will ask for: it may have been charged, so it counts as spent. */
export function asUnknown(call: CallRecord): CallRecord {
  return { ...call, outcome: 'unknown', actualUsd: call.estimatedUsd }
}

export interface CallDeps {
  catalog: Catalog
  providers: Providers
  artifacts: ArtifactStore
  limits: Limits
  clock: Pick<Clock, 'sleep'>
  /** Throws a `budget` failure where the run may not spend this much more. */
  admit(estimatedUsd: number): void
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

/**
 * Makes one call of a binding, trying its models in order; each attempt is a ledger row.
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
  let failure: StepFailure | undefined
  for (const { model: name, simulated } of binding.models) {
    const model = deps.catalog.model(name)
    if (model === undefined) throw new StepFailure('invalid', `This worker does not know the model "${name}".`)
    const record = intent(site, model, simulated, request, deps)
    deps.admit(record.estimatedUsd)
    // Reserved before it is recorded, so that concurrent calls see what is left.
    site.earlier.push(record)
    let isRecorded = false
    try {
      return await withPermit(deps, site, model, simulated, async () => {
        await deps.record(record)
        isRecorded = true
        deps.killpoint?.('W3')
        return await send(deps, site, model, record, null, request, files)
      })
    } catch (error) {
      if (!isRecorded) site.earlier.splice(site.earlier.indexOf(record), 1)
      if (!StepFailure.is(error)) throw error
      if (error.billed === 'unknown' && !asksAgain) throw unknownOutcome(error)
      failure = error
      if (error.failureClass === 'refused' || error.failureClass === 'budget') break
    }
  }
  throw failure ?? new StepFailure('internal', 'The call had no outcome.')
}

/** Does the work under a permit of the limits that all workers share; a simulated call needs none. */
async function withPermit<Result>(
  { limits }: CallDeps,
  site: CallSite,
  model: Model,
  simulated: boolean,
  work: () => Promise<Result>,
): Promise<Result> {
  if (simulated) return await work()
  const release = await limits.enter(model, site.signal)
  try {
    const result = await work()
    release(null)
    return result
  } catch (error) {
    release(error instanceof Error ? error : new Error('the call failed'))
    throw error
  }
}

function intent(site: CallSite, model: Model, simulated: boolean, request: JsonObject, deps: CallDeps): CallRecord {
  const usages = deps.catalog.provider(model.provider)?.expectedUsage(model, request) ?? []
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
  }
}

async function recover(
  deps: CallDeps,
  site: CallSite,
  record: CallRecord,
  request: JsonObject,
  files: Record<string, InputFile>,
): Promise<SettledCall | null> {
  const staged = await deps.artifacts.staged(record.id)
  if (staged !== null) return settle(site, record, staged)
  const model = deps.catalog.model(record.model)
  if (record.requestId !== null && model !== undefined) {
    const { requestId } = record
    return await withPermit(deps, site, model, record.simulated, () =>
      send(deps, site, model, record, requestId, request, files),
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
  })
}

async function send(
  deps: CallDeps,
  site: CallSite,
  model: Model,
  record: CallRecord,
  resumeId: string | null,
  request: JsonObject,
  files: Record<string, InputFile>,
): Promise<SettledCall> {
  let sent = record
  const update = async (change: Partial<CallRecord>) => {
    const changed = { ...sent, ...change }
    await deps.record(changed)
    site.earlier[site.earlier.indexOf(sent)] = changed
    sent = changed
  }
  try {
    const answer = await deps.providers.call(record.simulated, {
      model,
      request,
      files,
      seed: site.seed,
      callId: record.id,
      signal: site.signal,
      resumeId,
      onRequestId: (requestId) => update({ requestId }),
      onProgress: site.onProgress,
    })
    deps.killpoint?.('W5')
    await stage(deps, site, record.id, answer)
    return settle(site, sent, answer)
  } catch (error) {
    if (!StepFailure.is(error)) throw error
    // A stopped request that the provider knows by id stays pending: the next execution asks for its answer.
    if (site.signal.aborted && sent.requestId !== null && site.signal.reason !== 'cancel') throw error
    const unknown = error.billed === 'unknown'
    await update({
      outcome: unknown ? 'unknown' : site.signal.aborted ? 'cancelled' : 'failed',
      actualUsd: error.billed === 'no' ? 0 : sent.estimatedUsd,
    })
    throw error
  }
}

/** Stages an answer, again until the store takes it: it is paid for and lies nowhere else. */
async function stage({ artifacts, clock }: CallDeps, { signal }: CallSite, callId: string, answer: ProviderAnswer) {
  for (;;) {
    try {
      return await artifacts.stage(callId, answer)
    } catch (error) {
      if (!FabriqueError.is(error, 'unavailable') || signal.aborted) throw error
      await clock.sleep(STAGE_AGAIN_MS, signal).catch(() => {})
    }
  }
}

function settle(site: CallSite, record: CallRecord, answer: ProviderAnswer): SettledCall {
  const { rates } = site.definition
  const total = priceOf(rates, record.model, answer.usage)
  const reported = answer.usage.length > 0 && total !== null
  const settled: CallRecord = {
    ...record,
    outcome: 'succeeded',
    status: reported ? 'provider_reported' : 'estimated',
    ...(reported ? bookedAs(rates, record.model, answer.usage, total) : {}),
    actualUsd: reported ? total : record.estimatedUsd,
  }
  site.earlier[site.earlier.indexOf(record)] = settled
  return { record: settled, answer }
}
