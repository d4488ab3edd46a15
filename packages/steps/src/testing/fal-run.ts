// Runs of one step over the real engine and fal's adapter, in a time that passes at once while anybody waits.
// Hides the ports in memory, and how a ledger is read from them.
import {
  type ArtifactRecord,
  type CallRecord,
  createEngine,
  type Clock,
  type Definition,
  type Providers,
} from '@fabrique/engine'
import {
  aDefinition,
  aNewRun,
  createMemoryArtifactStore,
  createMemoryRunStore,
  createSequentialIds,
} from '@fabrique/engine/testing'
import type { JsonObject, Rate, RunError, Step } from '@fabrique/schema'
import { createProviders, createStandardCatalog, inspect } from '../index.ts'
import { FAL_KEY, type FalStandIn } from './fal-stand-in.ts'

export interface FalRun {
  status: string
  error: RunError | null
  output: JsonObject | null
  calls: CallRecord[]
  artifacts: ArtifactRecord[]
  progress: JsonObject[]
  spentUsd: number
}

const FLUX_RATES: Rate[] = [{ model: 'fal/flux-dev', unit: 'megapixel', unit_price_usd: 0.025, assumed: true }]
export const FLUX: Step = { id: 'pic', kind: 'image', model: 'fal/flux-dev', promptTemplate: 'a fox' }

/** The providers of a worker that reaches fal at the stand-in. */
export function falProviders(standIn: FalStandIn): Providers {
  return createProviders(
    { mode: 'live', settings: { fal: { apiKey: FAL_KEY, baseUrl: standIn.baseUrl } } },
    {
      createSimulatedClient: () => {
        throw new Error('nothing is simulated here')
      },
      simulationMissing: () => null,
    },
  )
}

/** Executes one step to its end. `cancelled` stops the run as a user's cancel does. */
export async function runFal(
  standIn: FalStandIn,
  options: {
    step?: Step
    rates?: Rate[]
    onUnknownOutcome?: Definition['onUnknownOutcome']
    cancelled?: AbortSignal
    providers?: Providers
  } = {},
): Promise<FalRun> {
  const { step = FLUX, rates = FLUX_RATES, onUnknownOutcome = 'retry', providers = falProviders(standIn) } = options
  const clock = hastyClock()
  const store = createMemoryRunStore({ clock, ids: createSequentialIds('9') })
  const model = String(step.model ?? step.tool)
  const definition = aDefinition({
    stepInstructions: [{ retry: { maxAttempts: 3, backoffMs: 10 }, ...step }],
    providerBindings: {
      [step.id]: { models: [{ model, provider: 'fal', endpoint: model.slice(4), simulated: false }] },
    },
    onUnknownOutcome,
    rates,
  })
  const engine = createEngine({
    store,
    queue: { enqueue: async () => {}, publish() {}, publishCancel() {} },
    artifacts: createMemoryArtifactStore(),
    catalog: createStandardCatalog(),
    intake: { validate: async (_hash, _schema, value) => ({ problems: [], value, undeclared: [] }) },
    providers,
    limits: { enter: async () => () => {} },
    inspect,
    clock,
    ids: createSequentialIds('9'),
    log: { debug() {}, info() {}, warn() {}, error() {} },
    worker: 'w1',
    leaseMs: 60_000,
  })
  const run = aNewRun(createSequentialIds().next(), { definition })
  await store.accept(run)
  await engine.execute(run.id, options.cancelled ?? new AbortController().signal)
  const stored = store.read(run.id)
  const { calls, artifacts } = await store.history(run.id)
  return {
    status: stored?.status ?? 'gone',
    error: stored?.error ?? null,
    output: stored?.output ?? null,
    calls,
    artifacts,
    progress: (stored?.events ?? []).flatMap(({ kind, payload }) =>
      kind.endsWith('progress') ? [payload as JsonObject] : [],
    ),
    spentUsd: calls.reduce((sum, { actualUsd }) => sum + (actualUsd ?? 0), 0),
  }
}

/** Time that passes at once for whoever sleeps. */
function hastyClock(): Clock {
  let nowMs = Date.UTC(2026, 0, 1, 12)
  return {
    nowMs: () => nowMs,
    async sleep(ms, signal) {
      if (signal.aborted) throw signal.reason
      nowMs += ms
      await new Promise((resolve) => setImmediate(resolve))
    },
  }
}
