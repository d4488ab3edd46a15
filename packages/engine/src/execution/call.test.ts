import { FabriqueError } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import type { ProviderRequest } from '../catalog.ts'
import { callModel, type CallSite } from './call.ts'
import { StepFailure } from '../failure.ts'
import type { CallRecord } from '../ports.ts'
import { aCall, aDefinition } from '../testing/factories.ts'
import { createFakeClock } from '../testing/fake-clock.ts'
import { createMemoryArtifactStore } from '../testing/memory-artifact-store.ts'
import { answerTo, asking, createTestCatalog } from '../testing/test-engine.ts'

/** One call of step `a`, bound to two models, over a provider that the test plays. */
function setup(options: {
  serve?: (request: ProviderRequest) => Promise<ReturnType<typeof answerTo>>
  earlier?: CallRecord[]
  onUnknownOutcome?: 'retry' | 'fail'
  signal?: AbortSignal
}) {
  const { serve = async ({ request }) => answerTo(request), earlier = [], onUnknownOutcome = 'retry' } = options
  const { signal = new AbortController().signal } = options
  const clock = createFakeClock()
  const definition = aDefinition({ ...asking([{ id: 'a' }], ['acme/one', 'acme/two']), onUnknownOutcome })
  const sent: ProviderRequest[] = []
  const ledger = new Map<string, CallRecord>(earlier.map((call) => [call.id, call]))
  const artifacts = createMemoryArtifactStore()
  const site: CallSite = {
    runId: 'r',
    definition,
    binding: definition.providerBindings.a,
    stepId: 'a',
    asksAgain: onUnknownOutcome === 'retry',
    stepKey: 'a',
    attempt: 1,
    seed: 0,
    signal,
    earlier,
    onProgress: () => {},
  }
  const deps = {
    catalog: createTestCatalog(),
    artifacts,
    limits: { enter: async () => () => {} },
    clock,
    admit: () => {},
    killpoint: () => {},
    record: async (call: CallRecord) => void ledger.set(call.id, call),
    providers: {
      call: async (_: boolean, request: ProviderRequest) => {
        expect(ledger.get(request.callId)?.outcome, 'the intent is durable before it is sent').toBe('pending')
        sent.push(request)
        return await serve(request)
      },
    },
  }
  const outcomes = () => [...ledger.values()].map(({ model, outcome, actualUsd }) => [model, outcome, actualUsd])
  return { call: () => callModel(deps, site, { prompt: 'p' }, {}), sent, artifacts, outcomes, clock }
}

describe('a paid call', () => {
  it('is staged before it is used, and books what the provider reported', async () => {
    const { call, artifacts } = setup({})
    const { record } = await call()
    expect(record).toMatchObject({ outcome: 'succeeded', status: 'provider_reported', actualUsd: 0.25 })
    expect(artifacts.stagedCalls()).toEqual([record.id])
  })

  it('waits with its answer for a store that is away, instead of paying for another', async () => {
    const { call, artifacts, sent, clock } = setup({})
    const { stage } = artifacts
    let tries = 0
    artifacts.stage = async (callId, answer) => {
      tries += 1
      if (tries < 5) throw new FabriqueError('unavailable', 'away')
      await stage(callId, answer)
    }
    const calling = call()
    while (tries < 5) {
      await new Promise((resolve) => setImmediate(resolve))
      clock.advance(clock.sleeping()[0] ?? 0)
    }
    const { record } = await calling
    expect(record).toMatchObject({ id: 'r.a.1', outcome: 'succeeded' })
    expect(artifacts.stagedCalls()).toEqual(['r.a.1'])
    expect(sent).toHaveLength(1)
  })

  it('gives its answer up to the books when it is stopped while the store is away', async () => {
    const stop = new AbortController()
    const { call, artifacts, sent, outcomes } = setup({ signal: stop.signal })
    artifacts.stage = async () => {
      stop.abort('shutdown')
      throw new FabriqueError('unavailable', 'away')
    }
    await expect(call()).rejects.toMatchObject({ code: 'unavailable' })
    expect(sent).toHaveLength(1)
    expect(outcomes()).toEqual([['acme/one', 'pending', null]])
  })

  it('adopts an answer that an earlier execution staged, without asking again', async () => {
    const earlier = [aCall('r.a.1', { stepKey: 'a', stepId: 'a', model: 'acme/one' })]
    const { call, artifacts, sent } = setup({ earlier })
    await artifacts.stage('r.a.1', answerTo({ prompt: 'staged' }))
    const { record, answer } = await call()
    expect(answer.output).toEqual({ text: 'done: staged' })
    expect(record).toMatchObject({ id: 'r.a.1', outcome: 'succeeded', actualUsd: 0.25 })
    expect(sent).toEqual([])
  })

  it('asks again for a request that the provider knows by name', async () => {
    const earlier = [aCall('r.a.1', { model: 'acme/one', requestId: 'q-7' })]
    const { call, sent } = setup({ earlier })
    expect((await call()).record).toMatchObject({ id: 'r.a.1', outcome: 'succeeded', requestId: 'q-7' })
    expect(sent.map(({ resumeId, callId }) => [resumeId, callId])).toEqual([['q-7', 'r.a.1']])
  })

  it('books an unknown outcome as spent, and asks anew where the template says so', async () => {
    const { call, outcomes, sent } = setup({ earlier: [aCall('r.a.1', { model: 'acme/one' })] })
    expect((await call()).record.id).toBe('r.a.2')
    expect(sent).toHaveLength(1)
    expect(outcomes()[0]).toEqual(['acme/one', 'unknown', 0.25])
  })

  it('fails on an unknown outcome where the template says so, without sending anything', async () => {
    const earlier = [aCall('r.a.1', { model: 'acme/one' })]
    const { call, outcomes, sent } = setup({ earlier, onUnknownOutcome: 'fail' })
    await expect(call()).rejects.toMatchObject({ failureClass: 'unknown_outcome' })
    expect(sent).toEqual([])
    expect(outcomes()).toEqual([['acme/one', 'unknown', 0.25]])
  })

  it('asks nobody else while nobody knows what a broken call cost, where the template says so', async () => {
    const broken = async () => {
      throw new StepFailure('server', 'the connection broke', { billed: 'unknown' })
    }
    const { call, sent, outcomes } = setup({ serve: broken, onUnknownOutcome: 'fail' })
    await expect(call()).rejects.toMatchObject({ failureClass: 'unknown_outcome' })
    await expect(call(), 'a later execution finds it on the books').rejects.toMatchObject({
      failureClass: 'unknown_outcome',
    })
    expect(sent).toHaveLength(1)
    expect(outcomes()).toEqual([['acme/one', 'unknown', 0.25]])
  })

  it.each([
    ['server', 'no', ['acme/one', 'acme/two'], 0],
    ['server', 'unknown', ['acme/one', 'acme/two'], 0.25],
    ['refused', 'no', ['acme/one'], 0],
    ['budget', 'no', ['acme/one'], 0],
  ] as const)('that fails as %s, billed %s, tries %j', async (failureClass, billed, models, spent) => {
    const { call, sent, outcomes } = setup({
      serve: async () => {
        throw new StepFailure(failureClass, 'no', { billed })
      },
    })
    await expect(call()).rejects.toMatchObject({ failureClass })
    expect(sent.map(({ model }) => model.name)).toEqual(models)
    expect(outcomes()).toEqual(models.map((name) => [name, billed === 'unknown' ? 'unknown' : 'failed', spent]))
  })
})
