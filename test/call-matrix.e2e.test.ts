// Every provider × stage × fault: what the provider charges is what the ledger says, and nothing is made twice.
// The engine with its real adapters over HTTP against a judge that keeps a bill of its own; only the record is in memory.
import { createEngine, type Definition, type EngineDeps, type Providers } from '@fabrique/engine'
import {
  aDefinition,
  aNewRun,
  createMemoryArtifactStore,
  createMemoryRunStore,
  createSequentialIds,
} from '@fabrique/engine/testing'
import { isTerminal, type Rate, type Step } from '@fabrique/schema'
import { createSimulatedClient, simulationMissing } from '@fabrique/simulators'
import { createProviders, createStandardCatalog, inspect } from '@fabrique/steps'
import { filmShots } from '@fabrique/steps/film'
import { writeWav } from '@fabrique/steps/sound'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FILM_SECONDS, type Fault, type Judge, PRICES, type Stage, startJudge } from './judging-provider.ts'

/** So many of the engine's milliseconds pass in a real one: its pauses are short, its time limits too. */
const FASTER = 25
const STEP_MS = 60_000
const LEASE_MS = 10_000

const rate = (model: string, unit: Rate['unit'], unit_price_usd: number): Rate => ({
  model,
  unit,
  unit_price_usd,
  assumed: true,
})
const RATES = [
  rate('openai/writer-1', 'input_token', PRICES.text.input),
  rate('openai/writer-1', 'output_token', PRICES.text.output),
  rate('openai/gpt-image-2', 'input_token', PRICES.picture.input),
  rate('openai/gpt-image-2', 'image_output_token', PRICES.picture.output),
  rate('openai/gpt-image-2', 'image', 0.05),
  rate('openai/voice-tts', 'character', PRICES.speech),
  rate('fal/flux-dev', 'megapixel', PRICES.megapixel),
  rate('fal/fabric-1.0', 'second', PRICES.filmSecond),
]

interface Operation {
  model: string
  step: Partial<Step> & { kind: string }
  stages: Stage[]
}

const OPERATIONS: Record<string, Operation> = {
  'an OpenAI text': {
    model: 'openai/writer-1',
    step: { kind: 'llm', promptTemplate: 'Write about the fox in the garden.' },
    stages: ['send'],
  },
  'an OpenAI text in the background': {
    model: 'openai/writer-1',
    step: { kind: 'llm', promptTemplate: 'Write about the fox.', params: { background: true } },
    stages: ['send', 'result'],
  },
  'an OpenAI picture': {
    model: 'openai/gpt-image-2',
    step: { kind: 'image', promptTemplate: 'a fox', params: { size: '1024x1024', quality: 'low' } },
    stages: ['send'],
  },
  'an OpenAI picture by link': {
    model: 'openai/gpt-image-2',
    step: { kind: 'image', promptTemplate: 'a fox', params: { response_format: 'url', quality: 'low' } },
    stages: ['send', 'file'],
  },
  'OpenAI speech': {
    model: 'openai/voice-tts',
    step: { kind: 'tool', tool: 'openai/voice-tts', args: { text: 'The fox is in the garden.', voice: 'coral' } },
    stages: ['send'],
  },
  'a fal picture': {
    model: 'fal/flux-dev',
    step: { kind: 'image', promptTemplate: 'a fox', params: { image_size: { width: 1024, height: 1024 } } },
    stages: ['send', 'status', 'result', 'file'],
  },
  'a fal film': {
    model: 'fal/fabric-1.0',
    step: {
      kind: 'tool',
      tool: 'fal/fabric-1.0',
      args: { image_url: 'data:image/png;base64,iVBORw0KGgo=', duration: FILM_SECONDS, resolution: '480p' },
    },
    stages: ['send', 'status', 'result', 'file'],
  },
}

type Doing = Omit<Fault, 'stage'>
const answering = (status: number, more: { headers?: Record<string, string>; body?: unknown } = {}): Doing => ({
  does: { status, ...more },
})
const ALWAYS = { always: true } as const

/** By stage: what goes wrong, and how the run ends. `fails` may leave a call of unknown outcome. */
const FAULTS: Record<
  'send' | 'later' | 'file',
  [what: string, doing: Doing, ends: 'completed' | 'failed' | 'either'][]
> = {
  send: [
    ['the connection breaks before it is read', { does: 'drop' }, 'failed'],
    ['the connection breaks after it is made', { does: 'drop', billed: true }, 'failed'],
    ['the answer is cut off', { does: 'cut', billed: true }, 'failed'],
    ['nothing is answered', { does: 'hang' }, 'failed'],
    ['nothing is answered, and it is made', { does: 'hang', billed: true }, 'failed'],
    ['the worker dies before it is read', { does: 'kill' }, 'failed'],
    ['the worker dies after it is made', { does: 'kill', billed: true }, 'failed'],
    ['400', answering(400), 'failed'],
    ['401', answering(401), 'failed'],
    ['402', answering(402), 'failed'],
    ['403', answering(403), 'failed'],
    ['404', answering(404), 'failed'],
    ['409', answering(409), 'completed'],
    ['413', answering(413), 'failed'],
    ['422', answering(422), 'failed'],
    ['429 with a time', answering(429, { headers: { 'retry-after': '1' } }), 'completed'],
    ['429 without a word', answering(429, { body: '' }), 'completed'],
    ['500', answering(500), 'completed'],
    [
      '502 as HTML',
      answering(502, { headers: { 'content-type': 'text/html' }, body: '<html>bad</html>' }),
      'completed',
    ],
    ['503 with a time', answering(503, { headers: { 'retry-after': '1' } }), 'completed'],
    ['504 after it is made', { ...answering(504), billed: true }, 'failed'],
    ['529', answering(529, { body: { error: { type: 'overloaded_error', message: 'busy' } } }), 'completed'],
    // fal's own client says that nothing was accepted; the SDK of OpenAI does not.
    ['a redirect', answering(307, { headers: { location: '/elsewhere' } }), 'either'],
    ['garbage', { ...answering(200, { body: '\u0000{{{' }), billed: true }, 'failed'],
    [
      'HTML',
      { ...answering(200, { headers: { 'content-type': 'text/html' }, body: '<p>hi</p>' }), billed: true },
      'failed',
    ],
  ],
  later: [
    ['the connection breaks', { does: 'drop' }, 'completed'],
    ['the answer is cut off', { does: 'cut' }, 'completed'],
    ['the worker dies', { does: 'kill' }, 'completed'],
    ['404 once', answering(404), 'completed'],
    ['404 for ever', { ...answering(404), ...ALWAYS }, 'failed'],
    ['400 once', answering(400), 'completed'],
    ['429', answering(429, { headers: { 'retry-after': '1' } }), 'completed'],
    ['500 once', answering(500), 'completed'],
    ['500 for ever', { ...answering(500), ...ALWAYS }, 'failed'],
    ['502', answering(502, { body: '<html>' }), 'completed'],
    ['503', answering(503), 'completed'],
    ['504', answering(504), 'completed'],
    ['garbage once', answering(200, { body: '{{{' }), 'completed'],
  ],
  file: [
    ['the connection breaks', { does: 'drop' }, 'completed'],
    ['the file is cut off', { does: 'cut' }, 'completed'],
    ['the worker dies', { does: 'kill' }, 'completed'],
    ['404 once', answering(404), 'completed'],
    ['404 for ever', { ...answering(404), ...ALWAYS }, 'failed'],
    ['403 once', answering(403), 'completed'],
    ['500 once', answering(500), 'completed'],
    ['500 for ever', { ...answering(500), ...ALWAYS }, 'failed'],
    ['503', answering(503), 'completed'],
    ['504', answering(504), 'completed'],
  ],
}

const CELLS = Object.entries(OPERATIONS).flatMap(([name, operation]) =>
  operation.stages.flatMap((stage) =>
    FAULTS[stage === 'send' || stage === 'file' ? stage : 'later'].map(
      ([what, doing, ends]) => [name, stage, what, { ...doing, stage } as Fault, ends] as const,
    ),
  ),
)

let judge: Judge

beforeAll(async () => {
  const still = await sharp({ create: { width: 160, height: 160, channels: 3, background: '#2f6f4f' } })
    .png()
    .toBuffer()
  const film = await filmShots(
    {
      widthPx: 160,
      heightPx: 160,
      fps: 5,
      comment: 'test',
      sound: null,
      shots: [{ frames: FILM_SECONDS * 5, render: async () => ({ png: still, overlay: null }) }],
      transition: 'none',
      motion: 'none',
    } as unknown as Parameters<typeof filmShots>[0],
    new AbortController().signal,
  )
  const samples = Int16Array.from({ length: 24_000 }, (_, i) => 8_000 * Math.sin(i / 9))
  judge = await startJudge({ film, sound: writeWav({ sampleRateHz: 24_000, channels: 1, samples }) })
})
afterAll(() => judge?.close())

/** One run of the operation's step, by workers that may die; answers what is on record of it. */
async function play({ model, step }: Operation, fault: Fault | null) {
  judge.forget()
  judge.inflict(fault)
  const startMs = performance.now()
  const clock = {
    nowMs: () => Date.UTC(2026, 10, 28, 12) + (performance.now() - startMs) * FASTER,
    sleep: (ms: number, signal: AbortSignal) =>
      new Promise<void>((resolve, reject) => {
        const stop = () => {
          clearTimeout(timer)
          reject(signal.reason)
        }
        const timer = setTimeout(() => {
          signal.removeEventListener('abort', stop)
          resolve()
        }, ms / FASTER)
        if (signal.aborted) stop()
        else signal.addEventListener('abort', stop, { once: true })
      }),
  }
  const store = createMemoryRunStore({ clock, ids: createSequentialIds('9') })
  const artifacts = createMemoryArtifactStore()
  const settings = { apiKey: 'k' }
  const providers = createProviders(
    {
      mode: 'live',
      settings: { openai: { ...settings, baseUrl: `${judge.url}/v1` }, fal: { ...settings, baseUrl: judge.url } },
    },
    { createSimulatedClient, simulationMissing },
  )
  const provider = model.split('/')[0] ?? ''
  const endpoint = createStandardCatalog().model(model)?.endpoint ?? ''
  const definition: Definition = aDefinition({
    stepInstructions: [
      {
        ...step,
        id: 'a',
        timeoutMs: STEP_MS,
        retry: { maxAttempts: 2, backoffMs: 100 },
        ...(step.kind === 'tool' ? {} : { model }),
      },
    ],
    providerBindings: { a: { models: [{ model, provider, endpoint, simulated: false }] } },
    rates: RATES,
    onUnknownOutcome: 'fail',
  })
  await store.accept(aNewRun('r', { definition }))

  /** A worker; when it dies, nothing of it reaches the outside any more, and it hears nothing. */
  function startWorker(died: Promise<void>) {
    let dead = false
    void died.then(() => {
      dead = true
    })
    const mortal = <Given extends unknown[], Result>(call: (...given: Given) => Promise<Result>) => {
      return async (...given: Given): Promise<Result> => {
        if (dead) return await new Promise(() => {})
        const result = await call(...given).catch((error: unknown) => {
          if (dead) return new Promise<never>(() => {})
          throw error
        })
        if (dead) return await new Promise(() => {})
        return result
      }
    }
    const deps: EngineDeps = {
      store: { ...store, claim: mortal(store.claim), commit: mortal(store.commit) },
      queue: { enqueue: async () => {}, publish() {}, publishCancel() {} },
      artifacts: { ...artifacts, stage: mortal(artifacts.stage), staged: mortal(artifacts.staged) },
      catalog: createStandardCatalog(),
      intake: { validate: async (_hash, _schema, value) => ({ problems: [], value, undeclared: [] }) },
      providers: {
        call: mortal(providers.call),
        fetch: mortal(providers.fetch as NonNullable<Providers['fetch']>),
      },
      limits: { enter: async () => () => {} },
      inspect,
      clock,
      ids: createSequentialIds('8'),
      log: {
        debug() {},
        info() {},
        warn() {},
        error: (context, message) => broken.push(`${message} ${JSON.stringify(context)}`),
      },
      worker: 'w',
      leaseMs: LEASE_MS,
    }
    return createEngine(deps)
  }

  const broken: string[] = []
  const { killed } = judge
  const first = startWorker(killed).execute('r', new AbortController().signal)
  const died = await Promise.race([first.then(() => false), killed.then(() => true)])
  if (died) {
    await clock.sleep(LEASE_MS + 1_000, new AbortController().signal)
    await store.recover(10)
    await startWorker(new Promise(() => {})).execute('r', new AbortController().signal)
  }
  const run = store.read('r')
  return { run, calls: [...(run?.calls ?? [])], broken }
}

const usd = (amounts: number[]) => amounts.reduce((sum, amount) => sum + amount, 0)

describe('a call without a fault', () => {
  it.each(Object.entries(OPERATIONS))('of %s completes, and costs what the provider charges', async (_, operation) => {
    const { run, calls, broken } = await play(operation, null)
    expect([run?.status, run?.error, broken, judge.complaints]).toEqual(['completed', null, [], []])
    expect(judge.bill).toHaveLength(1)
    expect(usd(calls.map(({ actualUsd }) => actualUsd ?? 0))).toBeCloseTo(usd(judge.bill), 9)
  })
})

describe.each(CELLS)('%s, %s: %s', (name, _stage, _what, fault, ends) => {
  it(`ends ${ends}, is made at most once, and the bill is the ledger`, async () => {
    const { run, calls, broken } = await play(OPERATIONS[name] as Operation, fault)
    expect(isTerminal(run?.status ?? 'pending')).toBe(true)
    expect([broken, judge.complaints]).toEqual([[], []])
    if (ends !== 'either') expect(run?.status, JSON.stringify(run?.error)).toBe(ends)
    expect(judge.bill.length, 'things that were made').toBeLessThanOrEqual(1)
    expect(calls.map(({ outcome }) => outcome)).not.toContain('pending')
    // Of a call that nobody could say anything of, the estimate is on the books; it is charged as a whole or not at all.
    const guessed = calls.filter(
      ({ outcome, status, actualUsd }) => outcome === 'unknown' || (status === 'estimated' && actualUsd !== 0),
    )
    for (const { actualUsd, estimatedUsd } of guessed) expect(actualUsd).toBe(estimatedUsd)
    const known = usd(calls.filter((call) => !guessed.includes(call)).map(({ actualUsd }) => actualUsd ?? 0))
    const open = usd(judge.bill) - known
    if (guessed.length === 0) expect(open, 'the bill without the ledger').toBeCloseTo(0, 8)
    else expect(judge.bill.length === 0 || open > 0, 'what is open is of that call').toBe(true)
  }, 20_000)
})

describe('the matrix', () => {
  it('has at least 150 cells', () => {
    expect(CELLS.length).toBeGreaterThanOrEqual(150)
  })
})
