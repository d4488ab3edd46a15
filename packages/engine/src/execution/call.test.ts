import { FabriqueError, type JsonObject, type Rate, type Usage } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import type { Provider, ProviderAnswer, ProviderRequest, Providers } from '../catalog.ts'
import { callModel, type CallDeps, type CallSite } from './call.ts'
import { StepFailure } from '../failure.ts'
import type { CallRecord } from '../ports.ts'
import type { Binding, Definition } from '../specification.ts'
import { aCall, aDefinition } from '../testing/factories.ts'
import { createFakeClock, type FakeClock } from '../testing/fake-clock.ts'
import { createMemoryArtifactStore } from '../testing/memory-artifact-store.ts'
import { answerTo, asking, createTestCatalog } from '../testing/test-engine.ts'

/** One call of step `a`, bound to two models, over a provider that the test plays. */
function setup(options: {
  serve?: (request: ProviderRequest) => Promise<ProviderAnswer>
  earlier?: CallRecord[]
  onUnknownOutcome?: 'retry' | 'fail'
  signal?: AbortSignal
  definition?: Partial<Definition>
  request?: JsonObject
  deps?: Partial<CallDeps>
  fetch?: NonNullable<Providers['fetch']>
}) {
  const { serve = async ({ request }) => answerTo(request), earlier = [], onUnknownOutcome = 'retry' } = options
  const { signal = new AbortController().signal } = options
  const clock = createFakeClock()
  const bound = { ...asking([{ id: 'a' }], ['acme/one', 'acme/two']), onUnknownOutcome, ...options.definition }
  const definition = aDefinition(bound)
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
    inspect: async (_: Uint8Array, mimeType: string) => ({ mimeType, width: null, height: null, durationMs: null }),
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
      ...(options.fetch === undefined ? {} : { fetch: options.fetch }),
    },
    ...options.deps,
  }
  const outcomes = () => [...ledger.values()].map(({ model, outcome, actualUsd }) => [model, outcome, actualUsd])
  return {
    call: () => callModel(deps, site, options.request ?? { prompt: 'p' }, {}),
    sent,
    artifacts,
    outcomes,
    clock,
    site,
    ledger,
  }
}

describe('a paid call', () => {
  it('asks each model in its own words', async () => {
    const bound = asking([{ id: 'a' }], ['acme/one', 'acme/two'])
    const [first, second] = bound.providerBindings.a?.models ?? []
    if (first === undefined || second === undefined) throw new Error('there are two models')
    const models = [first, { ...second, mapped: { size: { to: 'image_size', values: { small: 'square' } } } }]
    const { call, sent } = setup({
      definition: { providerBindings: { a: { models } } },
      request: { prompt: 'p', params: { size: 'small' } },
      async serve({ model, request }) {
        if (model.name === 'acme/one') throw new StepFailure('server', 'away', { billed: 'no' })
        return answerTo(request)
      },
    })
    await call()
    expect(sent.map(({ request }) => request.params)).toEqual([{ size: 'small' }, { image_size: 'square' }])
  })

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

describe('the price of a call', () => {
  const rates = [
    { model: 'acme/one', unit: 'request' as const, unit_price_usd: 0.25, assumed: true as const },
    { model: 'acme/one', unit: 'image' as const, unit_price_usd: 0.1, assumed: true as const },
  ]
  const reporting = (...usage: Usage[]) => ({
    definition: { rates },
    serve: async ({ request }: ProviderRequest) => ({ ...answerTo(request), usage }),
  })

  it('is reserved with the intent, as it is expected', async () => {
    const { call, ledger } = setup({
      serve: async ({ request, callId }) => {
        expect(ledger.get(callId)).toMatchObject({
          status: 'estimated',
          quantity: 1,
          unit: 'request',
          unitPriceUsd: 0.25,
          estimatedUsd: 0.25,
          actualUsd: null,
        })
        return answerTo(request)
      },
    })
    await call()
    expect.assertions(2)
  })

  it('is that of what the provider reports, in its unit', async () => {
    const { call } = setup(reporting({ unit: 'image', quantity: 3 }))
    expect((await call()).record).toMatchObject({
      status: 'provider_reported',
      quantity: 3,
      unit: 'image',
      unitPriceUsd: 0.1,
      actualUsd: 0.3,
    })
  })

  it('is booked as one request where several units are charged', async () => {
    const { call } = setup(reporting({ unit: 'image', quantity: 2 }, { unit: 'request', quantity: 1 }))
    expect((await call()).record).toMatchObject({ quantity: 1, unit: 'request', unitPriceUsd: 0.45, actualUsd: 0.45 })
  })

  it.each<[string, Usage[]]>([
    ['nothing', []],
    ['a unit without a rate', [{ unit: 'second', quantity: 9 }]],
  ])('stays as it was expected where the provider reports %s', async (_, usage) => {
    const { call } = setup(reporting(...usage))
    expect((await call()).record).toMatchObject({
      status: 'estimated',
      quantity: 1,
      unit: 'request',
      unitPriceUsd: 0.25,
      actualUsd: 0.25,
    })
  })

  it('that is nowhere listed keeps the call from being made', async () => {
    const { call, sent, outcomes } = setup({ definition: { rates: [] } })
    await expect(call()).rejects.toMatchObject({ failureClass: 'invalid', code: 'unpriced' })
    expect([sent, outcomes()]).toEqual([[], []])
  })

  it('is held against the budget by what it may cost at most, and reserved by what is likely', async () => {
    const asked: number[] = []
    const catalog = createTestCatalog()
    const acme = catalog.provider('acme') as Provider
    const expectedUsage: Provider['expectedUsage'] = (_, __, outlook) => [
      { unit: 'request', quantity: outlook?.at === 'high' ? 8 : 1 },
    ]
    const ranged = { ...catalog, provider: () => ({ ...acme, expectedUsage }) }
    const { call } = setup({ deps: { catalog: ranged, admit: (usd) => void asked.push(usd) } })
    expect((await call()).record.estimatedUsd).toBe(0.25)
    expect(asked).toEqual([2])
  })

  it('is held against the budget before anything is on the books', async () => {
    const asked: number[] = []
    const { call, sent, outcomes, site } = setup({
      deps: {
        admit(estimatedUsd) {
          asked.push(estimatedUsd)
          throw new StepFailure('budget', 'too much')
        },
      },
    })
    await expect(call()).rejects.toMatchObject({ failureClass: 'budget' })
    expect([asked, sent, outcomes(), site.earlier]).toEqual([[0.25], [], [], []])
  })
})

describe('a call that cannot be made', () => {
  it.each<[string, Definition['providerBindings']]>([
    ['no binding', {}],
    ['a binding without models', { a: { models: [] } }],
    [
      'a model that the worker does not know',
      { a: { models: [{ model: 'other/one', provider: 'other', endpoint: 'one', simulated: false }] } },
    ],
  ])('for %s fails its step as invalid, without a row', async (_, providerBindings) => {
    const { call, sent, outcomes } = setup({ definition: { providerBindings } })
    await expect(call()).rejects.toMatchObject({ failureClass: 'invalid' })
    expect([sent, outcomes()]).toEqual([[], []])
  })
})

describe('a place among all workers', () => {
  /** Limits that write down who enters, and how it left. */
  function watched(refused: string[] = []) {
    const log: string[] = []
    const limits: CallDeps['limits'] = {
      async enter({ name }) {
        if (refused.includes(name)) throw new StepFailure('server', 'no place')
        log.push(`enter ${name}`)
        return (failure) => void log.push(`leave ${name}: ${failure?.message ?? 'well'}`)
      },
    }
    return { log, limits }
  }

  it('is held while the call is made, and given back with how it went', async () => {
    const { log, limits } = watched()
    const { call } = setup({
      deps: { limits },
      serve: async ({ request, model }) => {
        log.push(`send ${model.name}`)
        if (model.name === 'acme/one') throw new StepFailure('server', 'no answer')
        return answerTo(request)
      },
    })
    await call()
    expect(log).toEqual([
      'enter acme/one',
      'send acme/one',
      'leave acme/one: no answer',
      'enter acme/two',
      'send acme/two',
      'leave acme/two: well',
    ])
  })

  it('is not asked for by a simulated call', async () => {
    const { log, limits } = watched()
    const models = [{ model: 'acme/one', provider: 'acme', endpoint: 'one', simulated: true }]
    const { call } = setup({ deps: { limits }, definition: { providerBindings: { a: { models } } } })
    expect((await call()).record.simulated).toBe(true)
    expect(log).toEqual([])
  })

  it('that is refused leaves nothing on the books, and the next model is asked', async () => {
    const { limits } = watched(['acme/one'])
    const { call, outcomes, site } = setup({ deps: { limits } })
    expect((await call()).record).toMatchObject({ id: 'r.a.1', model: 'acme/two' })
    expect(outcomes()).toEqual([['acme/two', 'pending', null]])
    expect(site.earlier.map(({ model, outcome }) => [model, outcome])).toEqual([['acme/two', 'succeeded']])
  })
})

describe('a call after others of its step', () => {
  it('is made beside one that failed, even where an unknown outcome would forbid it', async () => {
    const earlier = [aCall('r.a.1', { model: 'acme/one', outcome: 'failed', actualUsd: 0 })]
    const { call } = setup({ earlier, onUnknownOutcome: 'fail' })
    expect((await call()).record).toMatchObject({ id: 'r.a.2', outcome: 'succeeded' })
  })

  it('goes to the next model after a failure that cost nothing, even where an unknown outcome would forbid it', async () => {
    const { call, outcomes } = setup({
      onUnknownOutcome: 'fail',
      serve: async ({ request, model }) => {
        if (model.name === 'acme/one') throw new StepFailure('server', 'no', { billed: 'no' })
        return answerTo(request)
      },
    })
    expect((await call()).record).toMatchObject({ id: 'r.a.2', model: 'acme/two' })
    expect(outcomes()[0]).toEqual(['acme/one', 'failed', 0])
  })

  it('keeps the failed one in sight of whoever counts what was spent', async () => {
    const { call, site } = setup({
      serve: async () => {
        throw new StepFailure('refused', 'no', { billed: 'yes' })
      },
    })
    await expect(call()).rejects.toMatchObject({ failureClass: 'refused' })
    expect(site.earlier).toMatchObject([{ id: 'r.a.1', outcome: 'failed', actualUsd: 0.25 }])
  })

  it('is not looked up under a name where the worker no longer knows the model', async () => {
    const earlier = [aCall('r.a.1', { model: 'other/gone', requestId: 'q-7' })]
    const { call, sent, outcomes } = setup({ earlier })
    await call()
    expect(sent.map(({ resumeId }) => resumeId)).toEqual([null])
    expect(outcomes()[0]).toEqual(['other/gone', 'unknown', 0.25])
  })

  it('says what nobody knows: that it may have been charged, and why', async () => {
    const cause = new StepFailure('server', 'broke', { billed: 'unknown' })
    const { call } = setup({ serve: () => Promise.reject(cause), onUnknownOutcome: 'fail' })
    await expect(call()).rejects.toMatchObject({ failureClass: 'unknown_outcome', billed: 'unknown', cause })
  })
})

describe('a call that is stopped', () => {
  it.each([
    ['shutdown', 'q-7', 'pending', null],
    ['shutdown', null, 'cancelled', 0.25],
    ['lost', 'q-7', 'pending', null],
    ['cancel', 'q-7', 'cancelled', 0.25],
    ['cancel', null, 'cancelled', 0.25],
  ])('by %s, known to the provider as %s, is left %s', async (reason, requestId, outcome, actualUsd) => {
    const stop = new AbortController()
    const { call, ledger } = setup({
      signal: stop.signal,
      serve: async ({ onRequestId }) => {
        if (requestId !== null) await onRequestId(requestId)
        stop.abort(reason)
        throw new StepFailure('timeout', 'stopped', { billed: 'yes' })
      },
    })
    await expect(call()).rejects.toMatchObject({ failureClass: 'timeout' })
    expect(ledger.get('r.a.1')).toMatchObject({ outcome, actualUsd, requestId })
  })

  it('because its step is out of time while its file is fetched is paid for and not made again', async () => {
    const stop = new AbortController()
    const { call, outcomes } = setup({
      signal: stop.signal,
      serve: async ({ request }) => ({ ...answerTo(request), files: [], links: [{ name: 'f', url: 'https://x' }] }),
      fetch: async () => {
        stop.abort('deadline')
        throw new StepFailure('server', 'stopped')
      },
    })
    await expect(call()).rejects.toMatchObject({ failureClass: 'undelivered', code: 'result-gone' })
    expect(outcomes()).toEqual([['acme/one', 'succeeded', 0.25]])
  })
})

/** Lets every sleep pass as soon as it is slept, and answers how long each was. */
async function passing<Result>(clock: FakeClock, work: Promise<Result>): Promise<{ result: Result; waits: number[] }> {
  const waits: number[] = []
  let isOver = false
  const over = work.finally(() => (isOver = true)).catch(() => {})
  while (!isOver) {
    await new Promise((resolve) => setImmediate(resolve))
    const [soonest] = clock.sleeping()
    if (soonest === undefined || isOver) continue
    waits.push(soonest)
    clock.advance(soonest)
  }
  await over
  return { result: await work, waits }
}

describe('a call that the provider limits', () => {
  it('is made again under a permit until it is let in, at its old place in line, each refusal a row that cost nothing', async () => {
    let refusals = 3
    const entered: unknown[] = []
    const { call, outcomes, clock } = setup({
      definition: asking([{ id: 'a' }], ['acme/one']),
      serve: async ({ request }) => {
        clock.advance(1_000)
        if (refusals-- > 0) throw new StepFailure('rate_limit', 'slow down')
        return answerTo(request)
      },
      deps: {
        limits: {
          async enter(_model, _signal, wait) {
            entered.push(wait)
            return () => {}
          },
        },
      },
    })
    expect((await call()).record).toMatchObject({ id: 'r.a.4', outcome: 'succeeded' })
    expect(outcomes().slice(0, 3)).toEqual(Array(3).fill(['acme/one', 'failed', 0]))
    expect(entered).toEqual(Array(4).fill({ patient: true, sinceMs: clock.nowMs() - 4_000 }))
  })

  it.each([
    ['is out is made again, each try a row that cost nothing', 'no', true, 3],
    ['fails now and then fails', 'no', false, 1],
    ['is out is not made again where it may be charged', 'unknown', true, 1],
  ] as const)('and whose model %s', async (_, billed, isOut, calls) => {
    const { call, sent } = setup({
      definition: asking([{ id: 'a' }], ['acme/one']),
      serve: async ({ request }) => {
        if (sent.length < 3) throw new StepFailure('server', 'no answer', { billed })
        return answerTo(request)
      },
      deps: { limits: { enter: async () => () => {}, isOut: () => isOut } },
    })
    await call().catch(() => {})
    expect(sent).toHaveLength(calls)
  })

  it('is waited for an hour, and no longer', async () => {
    const { call, sent, clock } = setup({
      definition: asking([{ id: 'a' }], ['acme/one']),
      serve: async () => {
        clock.advance(600_000)
        throw new StepFailure('server', 'no answer')
      },
      deps: { limits: { enter: async () => () => {}, isOut: () => true } },
    })
    await expect(call()).rejects.toMatchObject({ failureClass: 'server' })
    expect(sent).toHaveLength(6)
  })

  it('goes to the next model where there is one, without waiting', async () => {
    const entered: [string, boolean][] = []
    const { call } = setup({
      serve: async ({ request, model }) => {
        if (model.name === 'acme/one') throw new StepFailure('rate_limit', 'slow down')
        return answerTo(request)
      },
      deps: {
        limits: {
          async enter({ name }, _signal, wait) {
            entered.push([name, wait?.patient ?? false])
            return () => {}
          },
        },
      },
    })
    expect((await call()).record).toMatchObject({ model: 'acme/two', outcome: 'succeeded' })
    expect(entered).toEqual([
      ['acme/one', false],
      ['acme/two', true],
    ])
  })
})

describe('a call that the provider has accepted', () => {
  const accepting = (answers: (() => ProviderAnswer)[]) => {
    const asked: (string | null)[] = []
    return {
      asked,
      serve: async ({ onRequestId, resumeId, request }: ProviderRequest) => {
        asked.push(resumeId)
        if (resumeId === null) await onRequestId('q-7')
        const next = answers.shift()
        return next === undefined ? answerTo(request) : next()
      },
    }
  }
  const failing = (failure: StepFailure) => () => {
    throw failure
  }

  it.each(['server', 'timeout', 'rate_limit'] as const)(
    'is asked for by its id after a fault of class %s',
    async (kind) => {
      const { asked, serve } = accepting(Array(4).fill(failing(new StepFailure(kind, 'not now'))))
      const { call, clock, outcomes } = setup({ serve })
      const { result, waits } = await passing(clock, call())
      expect(asked).toEqual([null, 'q-7', 'q-7', 'q-7', 'q-7'])
      expect(waits).toEqual([250, 500, 1_000, 2_000])
      expect(result.record).toMatchObject({ id: 'r.a.1', outcome: 'succeeded', requestId: 'q-7' })
      expect(outcomes()).toHaveLength(1)
    },
  )

  it('is asked for again where the provider denies it once', async () => {
    const { asked, serve } = accepting([failing(new StepFailure('invalid', 'no such request'))])
    const { call, clock } = setup({ serve })
    expect((await passing(clock, call())).result.record.outcome).toBe('succeeded')
    expect(asked).toEqual([null, 'q-7'])
  })

  it('is booked at its estimate, and not made again, where the provider denies it for good', async () => {
    const { asked, serve } = accepting(Array(9).fill(failing(new StepFailure('invalid', 'no such request'))))
    const { call, clock, outcomes } = setup({ serve })
    await expect(passing(clock, call())).rejects.toMatchObject({ failureClass: 'undelivered', code: 'result-gone' })
    expect(asked).toHaveLength(5)
    expect(outcomes()).toEqual([['acme/one', 'failed', 0.25]])
  })

  it('is given up after ten minutes of faults', async () => {
    const { asked, serve } = accepting(Array(500).fill(failing(new StepFailure('server', 'not now'))))
    const { call, clock } = setup({ serve })
    const begunMs = clock.nowMs()
    await expect(passing(clock, call())).rejects.toMatchObject({ failureClass: 'undelivered' })
    expect(clock.nowMs() - begunMs).toBeLessThanOrEqual(10 * 60_000)
    expect(asked.length).toBeGreaterThan(20)
  })

  it('is asked for by a new series of tries where it had good answers for a while, and says for how long', async () => {
    const failures = Array(12).fill(new StepFailure('invalid', 'no such request'))
    const askedForMs: (number | undefined)[] = []
    const { call, clock } = setup({
      serve: async (request) => {
        askedForMs.push(request.askedForMs)
        if (request.resumeId === null) await request.onRequestId('q-7')
        if (failures.length === 0) return answerTo(request.request)
        // The provider works at it for three minutes before it denies it.
        if (failures.length % 4 === 0) clock.advance(3 * 60_000)
        throw failures.pop()
      },
    })
    const { result } = await passing(clock, call())
    expect(result.record.outcome).toBe('succeeded')
    expect(askedForMs.slice(0, 2)).toEqual([0, 180_250])
  })

  it.each([
    [undefined, 5_000, 5_000],
    [60_000, 5_000, 60_000],
    [undefined, undefined, undefined],
  ])('may take as long as the step says (%s), else as its model (%s)', async (step, model, limit) => {
    const [bound] = aDefinition(asking([{ id: 'a' }], ['acme/one'])).providerBindings.a?.models ?? []
    const models = [{ ...(bound as Binding['models'][number]), ...(model === undefined ? {} : { timeLimitMs: model }) }]
    const { call, site, sent } = setup({})
    Object.assign(site, { binding: { models }, timeLimitMs: step })
    await call()
    expect(sent[0]?.timeLimitMs).toBe(limit)
  })

  it('is over where the provider has said its last word', async () => {
    const last = new StepFailure('server', 'it broke while it was made', { isFinal: true })
    const { asked, serve } = accepting([failing(last)])
    const { call, outcomes } = setup({ serve, definition: asking([{ id: 'a' }], ['acme/one']) })
    await expect(call()).rejects.toBe(last)
    expect([asked.length, outcomes()]).toEqual([1, [['acme/one', 'failed', 0]]])
  })
})

describe('what a call has made', () => {
  const links = [{ name: 'image', url: 'https://files.example/1' }]
  const linked = { ...answerTo({ prompt: 'p' }), files: [], links }
  const bytes = new Uint8Array([1, 2, 3])
  const file = { name: 'image', mimeType: 'image/png', bytes }

  /** A provider that hands over its file after these failures. */
  function handing(...failures: StepFailure[]) {
    const fetched: string[] = []
    return {
      fetched,
      serve: async () => linked,
      fetch: async (_simulated: boolean, _model: unknown, { url }: { url: string }) => {
        fetched.push(url)
        const failure = failures.shift()
        if (failure !== undefined) throw failure
        return file
      },
    }
  }

  it('is staged before its files are fetched, and fetched again without being made again', async () => {
    const { serve, fetch, fetched } = handing(...Array(3).fill(new StepFailure('server', 'not now')))
    const { call, artifacts, clock, sent } = setup({ serve, fetch })
    const seen: unknown[] = []
    const stage = artifacts.stage
    artifacts.stage = async (id, answer) => {
      seen.push([answer.links?.length ?? 0, answer.files.length])
      await stage(id, answer)
    }
    const { result } = await passing(clock, call())
    expect(result.answer.files).toEqual([file])
    expect([sent.length, fetched.length, seen]).toEqual([
      1,
      4,
      [
        [1, 0],
        [0, 1],
      ],
    ])
  })

  it('is fetched by the next execution where the worker died meanwhile', async () => {
    const { serve, fetch } = handing()
    const earlier = [aCall('r.a.1', { stepKey: 'a', stepId: 'a', model: 'acme/one' })]
    const { call, artifacts, sent } = setup({ serve, fetch, earlier })
    await artifacts.stage('r.a.1', linked)
    expect((await call()).answer.files).toEqual([file])
    expect(sent).toEqual([])
  })

  it('is booked once, and not made again, where its file is gone for good', async () => {
    const gone = new StepFailure('server', 'HTTP 404', { code: 'file-gone' })
    const { serve, fetch, fetched } = handing(...Array(9).fill(gone))
    const { call, clock, outcomes, sent } = setup({ serve, fetch })
    await expect(passing(clock, call())).rejects.toMatchObject({ failureClass: 'undelivered', code: 'result-gone' })
    expect([fetched.length, sent.length, outcomes()]).toEqual([5, 1, [['acme/one', 'succeeded', 0.25]]])
  })

  it('counts by its price where the run is cancelled before it is fetched', async () => {
    const stop = new AbortController()
    const { call, outcomes } = setup({
      signal: stop.signal,
      serve: async () => linked,
      fetch: async () => {
        stop.abort('cancel')
        throw new StepFailure('server', 'stopped')
      },
    })
    await expect(call()).rejects.toMatchObject({ failureClass: 'server' })
    expect(outcomes()).toEqual([['acme/one', 'succeeded', 0.25]])
  })
})

describe('the bill of a call', () => {
  const rates = [
    { model: 'acme/one', unit: 'request' as const, unit_price_usd: 0.25, assumed: true as const },
    { model: 'acme/one', unit: 'input_token' as const, unit_price_usd: 0.01, assumed: true as const },
    {
      model: 'acme/one',
      unit: 'input_token' as const,
      unit_price_usd: 0.005,
      when: { service_tier: 'flex' },
      assumed: true as const,
    },
    { model: 'acme/one', unit: 'output_token' as const, unit_price_usd: 0.1, assumed: true as const },
  ]
  const used: Usage[] = [
    { unit: 'input_token', quantity: 100 },
    { unit: 'output_token', quantity: 3 },
  ]

  it('has a line for each unit, what the provider said, and the price of the tier that it charged', async () => {
    const facts = { tier: 'flex', servedModel: 'one-2026-11-01', requestId: 'req-1', reported: { input_tokens: 100 } }
    const { call } = setup({
      definition: { rates },
      serve: async ({ request }) => ({ ...answerTo(request), usage: used, ...facts }),
    })
    const { record } = await call()
    expect(record).toMatchObject({ actualUsd: 0.8, status: 'provider_reported', requestId: 'req-1' })
    expect(record.bill).toEqual({
      lines: [
        { quantity: 100, unit: 'input_token', unitPriceUsd: 0.005, usd: 0.5 },
        { quantity: 3, unit: 'output_token', unitPriceUsd: 0.1, usd: 0.3 },
      ],
      servedModel: 'one-2026-11-01',
      tier: 'flex',
      usage: { input_tokens: 100 },
    })
  })

  it.each([
    ['two', 'of another model', 20],
    ['two-2026-11-01', 'of a dated version of another model', 20],
    ['one-2026-11-01', 'of a dated version', 1.3],
    ['gateway/three', 'of a model that has no price', 1.3],
  ])('where %s was served has the prices %s', async (servedModel, _, actualUsd) => {
    const dear = (['input_token', 'output_token'] as const).map(
      (unit): Rate => ({ model: 'acme/two', unit, unit_price_usd: unit === 'input_token' ? 0.17 : 1, assumed: true }),
    )
    const { call } = setup({
      definition: { rates: [...rates, ...dear] },
      serve: async ({ request }) => ({ ...answerTo(request), usage: used, servedModel }),
    })
    expect((await call()).record).toMatchObject({ model: 'acme/one', actualUsd, status: 'provider_reported' })
  })

  it.each([
    ['measured', 'measured'],
    ['expected', 'estimated'],
  ] as const)('by facts that are %s says so', async (basis, status) => {
    const { call } = setup({
      definition: { rates },
      serve: async ({ request }) => ({ ...answerTo(request), usage: used, basis }),
    })
    expect((await call()).record).toMatchObject({ status, actualUsd: 1.3 })
  })

  it('depends on the time of day: as it is sent for the estimate, and as it ends for the price', async () => {
    const cheap = { ...rates[0], unit_price_usd: 0.1, when: { utc_time: '12:00-13:00' } } as Rate
    const { call, clock, ledger } = setup({
      definition: { rates: [...rates, cheap] },
      async serve({ request, callId }) {
        expect(ledger.get(callId)?.estimatedUsd).toBe(0.1)
        clock.advance(3_600_000)
        return answerTo(request)
      },
    })
    expect((await call()).record).toMatchObject({ estimatedUsd: 0.1, actualUsd: 0.25 })
  })

  it.each([1e300, -5, Number.NaN, Number.POSITIVE_INFINITY])('of %d tokens is not believed', async (quantity) => {
    const { call } = setup({
      definition: { rates },
      serve: async ({ request }) => ({ ...answerTo(request), usage: [{ unit: 'input_token', quantity }] }),
    })
    expect((await call()).record).toMatchObject({ status: 'estimated', actualUsd: 0.25, bill: { lines: [] } })
  })

  it('is of the units that the price list has for the model, by what it made where the provider does not say', async () => {
    const units: unknown[] = []
    const measuring: Provider = {
      ...(createTestCatalog().provider('acme') as Provider),
      expectedUsage: ({ pricedIn }) => {
        units.push(pricedIn)
        return [{ unit: 'output_token', quantity: 1 }]
      },
      measure: (_model, _request, made) => [{ unit: 'output_token', quantity: made[0]?.width ?? 0 }],
    }
    const catalog = { ...createTestCatalog(), provider: () => measuring }
    const inspect = async () => ({ mimeType: 'image/png', width: 7, height: 1, durationMs: null })
    const { call, artifacts } = setup({
      definition: { rates },
      deps: { catalog, inspect },
      serve: async ({ request }) => ({ ...answerTo(request), usage: used, basis: 'expected', links: [] }),
    })
    const { record } = await call()
    expect(units[0]).toEqual(['request', 'input_token', 'output_token'])
    expect(record).toMatchObject({ status: 'measured', quantity: 7, actualUsd: 0.7 })
    expect(await artifacts.staged(record.id)).toMatchObject({ basis: 'measured' })
  })

  it('is the estimate where what was made cannot be read', async () => {
    const inspect = async () => {
      throw new StepFailure('bad_output', 'not a picture')
    }
    const measure = () => [{ unit: 'request' as const, quantity: 9 }]
    const catalog = createTestCatalog()
    const provider = { ...(catalog.provider('acme') as Provider), measure }
    const { call } = setup({
      deps: { catalog: { ...catalog, provider: () => provider }, inspect },
      serve: async ({ request }) => ({ ...answerTo(request), basis: 'expected', links: [] }),
    })
    expect((await call()).record).toMatchObject({ status: 'estimated', actualUsd: 0.25 })
  })

  it('is refused before it is sent where the request asks for what no call can have', async () => {
    const catalog = createTestCatalog()
    const expectedUsage = () => [{ unit: 'request' as const, quantity: Number.NaN }]
    const provider = { ...(catalog.provider('acme') as Provider), expectedUsage }
    const { call, sent, outcomes } = setup({ deps: { catalog: { ...catalog, provider: () => provider } } })
    await expect(call()).rejects.toMatchObject({
      failureClass: 'invalid',
      message: expect.stringContaining('requests'),
    })
    expect([sent, outcomes()]).toEqual([[], []])
  })

  it('of a failed call is what it used, with what the provider said', async () => {
    const provider = { status: 400, code: 'too_long', message: 'too long' }
    const { call, ledger } = setup({
      definition: { rates },
      serve: async () => {
        throw new StepFailure('refused', 'no', { billed: 'yes', facts: { usage: used }, provider })
      },
    })
    await expect(call()).rejects.toMatchObject({ failureClass: 'refused' })
    expect(ledger.get('r.a.1')).toMatchObject({ outcome: 'failed', actualUsd: 1.3, bill: { error: provider } })
  })
})
