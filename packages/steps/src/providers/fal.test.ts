// fal over the real engine and a loopback queue that keeps its own bill: after every run the bill is the ledger.
import type { Model, ProviderRequest, Providers } from '@fabrique/engine'
import { anArtifact, providerClientContract } from '@fabrique/engine/testing'
import type { JsonObject, Rate } from '@fabrique/schema'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { FLUX, type FalRun, falProviders, runFal } from '../testing/fal-run.ts'
import { createFalStandIn, FAL_KEY, type FalStandIn, type Fault, picture, type Stage } from '../testing/fal-stand-in.ts'
import { aTone } from '../testing/tone.ts'
import { fal } from './fal.ts'

let standIn: FalStandIn

beforeEach(async () => {
  standIn = await createFalStandIn()
})
afterEach(async () => {
  expect(standIn.complaints()).toEqual([])
  await standIn.close()
})

/** Runs a step, and holds the stand-in's bill against the ledger. */
async function run(options: Parameters<typeof runFal>[1] = {}): Promise<FalRun> {
  const result = await runFal(standIn, options)
  expect(result.spentUsd).toBeCloseTo(standIn.billUsd(), 12)
  return result
}

const DETAIL = (type: string, msg: string, more: JsonObject = {}): JsonObject => ({
  detail: [{ loc: ['body', 'image_size', 'width'], msg, type, input: 'a fox in the secret garden', ...more }],
})

/** One call of the adapter alone. */
function asking(over: Partial<ProviderRequest>) {
  return fal.connect({ apiKey: FAL_KEY, baseUrl: standIn.baseUrl }).call({
    model: fal.provider.model('fal/flux-dev') as Model,
    request: { prompt: 'a fox' },
    files: {},
    callId: 'r.a.1',
    signal: new AbortController().signal,
    resumeId: null,
    onRequestId: async () => {},
    onProgress: () => {},
    ...over,
  })
}

describe('a request to fal', () => {
  it('is sent once, with the key, and its result is fetched and booked with what fal says', async () => {
    standIn.makes({ queued: 1, working: 1, headers: { 'x-fal-billable-units': '1' } })
    const { status, calls, artifacts, output } = await run()
    expect([status, standIn.count('submit'), standIn.count('result'), standIn.count('file')]).toEqual([
      'completed',
      1,
      1,
      1,
    ])
    expect(standIn.generations()).toMatchObject([{ endpoint: 'fal-ai/flux/dev', input: { prompt: 'a fox' } }])
    expect(calls).toMatchObject([
      {
        outcome: 'succeeded',
        status: 'provider_reported',
        requestId: 'q-1',
        actualUsd: 0.025,
        bill: {
          lines: [{ quantity: 1, unit: 'megapixel', unitPriceUsd: 0.025, usd: 0.025 }],
          usage: { billable_units: '1', inference_time: 1.25 },
        },
      },
    ])
    expect(artifacts).toMatchObject([{ role: 'images', mimeType: 'image/png', width: 1024, height: 768 }])
    expect(output).toMatchObject({ pic: { data: { seed: 7 } } })
  })

  it('has its files inline, lists of them too, under the names that fal gives them', async () => {
    const file = (text: string) => ({ record: anArtifact(text, { mimeType: 'image/png' }), bytes: Buffer.from(text) })
    const [a, b, c] = [file('a'), file('b'), file('c')]
    await asking({ files: { image: a, 'images/0': a, 'images/1': b, 'mask_urls/0': c, style_url: c, extra_urls: c } })
    const url = (text: string) => `data:image/png;base64,${Buffer.from(text).toString('base64')}`
    expect(standIn.generations()[0]?.input).toMatchObject({
      image_url: url('a'),
      image_urls: [url('a'), url('b')],
      mask_urls: [url('c')],
      style_url: url('c'),
      extra_urls: [url('c')],
    })
  })

  it('whose result is answered before it is there (202) is asked for again', async () => {
    standIn.script('result', { status: 202, body: { status: 'IN_PROGRESS' } })
    const { status, spentUsd } = await run()
    expect([status, standIn.count('submit'), standIn.count('result'), spentUsd]).toEqual(['completed', 1, 2, 0.025])
  })

  const losses: [Stage, Fault][] = (['status', 'result', 'file'] as const).flatMap((stage) =>
    (
      [
        'drop',
        'midway',
        { status: 404 },
        { status: 403 },
        { status: 429, headers: { 'retry-after': '1' } },
        { status: 500 },
        { status: 502, body: '<html>bad gateway</html>' },
        { status: 504, body: { detail: 'Gateway Timeout' } },
        { status: 302, headers: { location: 'http://127.0.0.1:9/elsewhere' } },
        ...(stage === 'file' ? [] : (['garbage'] as const)),
      ] as Fault[]
    ).map((fault): [Stage, Fault] => [stage, fault]),
  )
  it.each(losses)('is not made again where its %s meets %j', async (stage, fault) => {
    standIn.script(stage, fault, fault)
    const { status, calls } = await run()
    expect([status, standIn.count('submit'), calls.length]).toEqual(['completed', 1, 1])
    expect(standIn.count(stage)).toBe(3)
  })

  it.each(['drop', 'midway', 'garbage'] as const)(
    'is posted exactly once where its answer is lost (%s) and an unknown outcome fails the run',
    async (fault) => {
      standIn.script('submit', fault)
      const { status, error, calls } = await run({ onUnknownOutcome: 'fail' })
      expect([status, error?.code, standIn.count('submit')]).toEqual(['failed', 'unknown-outcome', 1])
      expect(calls).toMatchObject([{ outcome: 'unknown', status: 'estimated', actualUsd: 0.025 }])
    },
  )

  it.each(['drop', 'midway'] as const)(
    'is posted again by the engine alone where its answer is lost (%s)',
    async (fault) => {
      standIn.script('submit', fault)
      const { status, calls } = await run()
      expect([status, standIn.count('submit')]).toEqual(['completed', 2])
      expect(calls.map(({ outcome }) => outcome)).toEqual(['unknown', 'succeeded'])
    },
  )

  it.each([
    [{ status: 500 }, 'succeeded'],
    [{ status: 503 }, 'succeeded'],
    [{ status: 429 }, 'succeeded'],
    [{ status: 302, headers: { location: '/elsewhere' } }, 'succeeded'],
  ] as [Fault, string][])('that was not accepted (%j) costs nothing and is posted again', async (fault, outcome) => {
    standIn.script('submit', fault)
    const { calls } = await run()
    expect(calls.map((call) => [call.outcome, call.actualUsd])).toEqual([
      ['failed', 0],
      [outcome, 0.025],
    ])
  })

  it('is given up where fal knows it no more, booked once at its estimate', async () => {
    standIn.script('result', ...Array<Fault>(20).fill({ status: 404, body: { detail: 'Request not found' } }))
    const { status, error, calls } = await run()
    expect([status, error?.code, standIn.count('submit'), standIn.count('result')]).toEqual([
      'failed',
      'result-gone',
      1,
      5,
    ])
    expect(error?.message).toContain('Request not found')
    expect(calls).toMatchObject([{ outcome: 'failed', actualUsd: 0.025 }])
  })

  it('fails where its file is gone for good, booked once by what was made', async () => {
    standIn.script('file', ...Array<Fault>(20).fill({ status: 410 }))
    const { error, calls } = await run()
    expect([error?.code, standIn.count('submit'), standIn.count('file')]).toEqual(['result-gone', 1, 5])
    expect(calls).toMatchObject([{ outcome: 'succeeded', status: 'measured', actualUsd: 0.025 }])
  })

  it('is not asked for its result for ever: failing looks are bounded', async () => {
    standIn.script('status', ...Array<Fault>(500).fill({ status: 503 }))
    const { error } = await run()
    expect([error?.code, standIn.count('submit')]).toEqual(['result-gone', 1])
    expect(standIn.count('status')).toBeLessThan(40)
  })
})

describe('a generation that failed', () => {
  it.each([
    ['internal_server_error', 500],
    ['downstream_service_unavailable', 500],
    ['generation_timeout', 504],
  ])('at fal (%s) costs nothing, and is made again', async (type, status) => {
    const fault = { status, body: DETAIL(type, 'it broke'), headers: { 'x-fal-retryable': 'true' } }
    standIn.script('result', fault, fault)
    const result = await run()
    expect([result.status, standIn.count('submit')]).toEqual(['completed', 2])
    expect(result.calls).toMatchObject([
      { outcome: 'failed', actualUsd: 0, requestId: 'q-1', bill: { error: { status, type } } },
      { outcome: 'succeeded' },
    ])
  })

  it('by a runner that went away is told by its error type, and made again', async () => {
    const fault = { status: 503, body: { detail: 'Runner disconnected', error_type: 'runner_disconnected' } }
    standIn.script('result', fault, fault)
    const { calls } = await run()
    expect(calls).toMatchObject([{ bill: { error: { type: 'runner_disconnected' } } }, { outcome: 'succeeded' }])
  })

  it('by its parameters is the last word: named with its bound, counted, and not made again', async () => {
    const body = DETAIL('less_than_equal', 'Input should be less than or equal to the limit', { ctx: { le: 14142 } })
    standIn.script('result', ...Array<Fault>(9).fill({ status: 422, body }))
    const { error, calls } = await run()
    expect([error?.code, standIn.count('submit'), standIn.count('result')]).toEqual(['provider-rejected', 1, 2])
    expect(error?.message).toMatch(/image_size\.width: Input should .* \(le 14142\)/)
    expect(JSON.stringify([error, calls])).not.toContain('secret garden')
    expect(calls).toMatchObject([
      {
        outcome: 'failed',
        bill: { error: { status: 422, type: 'less_than_equal', param: 'image_size.width', request_id: 'q-1' } },
      },
    ])
  })

  it.each(['0', '2'])('is booked by what fal counted for it: %s', async (units) => {
    const fault: Fault = { status: 422, body: DETAIL('value_error', 'no'), headers: { 'x-fal-billable-units': units } }
    standIn.script('result', fault, fault)
    standIn.makes({ usd: Number(units) * 0.025 })
    const { calls } = await run()
    expect(calls).toMatchObject([{ outcome: 'failed', status: 'provider_reported' }])
  })

  it('is believed when it is said twice: once may be a gateway', async () => {
    standIn.script('result', { status: 422, body: DETAIL('value_error', 'no') })
    expect((await run()).status).toBe('completed')
  })

  it('by policy is refused, without the words that quote the prompt', async () => {
    const body = DETAIL('content_policy_violation', 'The prompt "a fox in the secret garden" was flagged.')
    standIn.script('result', ...Array<Fault>(9).fill({ status: 422, body }))
    const { error } = await run()
    expect([error?.code, standIn.count('submit')]).toEqual(['content-refused', 1])
    expect(error?.message).not.toContain('fox')
  })

  it('inside a success is a failure with its words, and counted', async () => {
    standIn.makes({ data: { error: { type: 'model_error', message: 'the face was not found' } } })
    const { status, error, calls } = await run()
    expect([status, standIn.count('submit')]).toEqual(['failed', 1])
    expect(error?.message).toContain('the face was not found')
    expect(calls).toMatchObject([{ outcome: 'failed', actualUsd: 0.025 }])
  })
})

describe('why fal refuses a request', () => {
  it.each<[string, Fault, code: string, words: RegExp]>([
    ['a wrong key', { status: 401, body: { detail: 'No user found for Key ID and Secret' } }, 'provider-key', /key/],
    [
      'an empty balance',
      {
        status: 403,
        body: { detail: 'User is locked. Reason: Exhausted balance. Top up at fal.ai/dashboard/billing.' },
      },
      'provider-account',
      /Exhausted balance/,
    ],
    ['payment', { status: 402, body: { detail: 'Payment required' } }, 'provider-account', /Payment required/],
    [
      'a lock',
      { status: 403, body: { detail: 'User is locked. Reason: Admin lock.' } },
      'provider-account',
      /Admin lock/,
    ],
    [
      'a parameter',
      { status: 422, body: DETAIL('multiple_of', 'Value must be a multiple of 32', { ctx: { multiple_of: 32 } }) },
      'provider-rejected',
      /image_size\.width: Value must be a multiple of 32\./,
    ],
    ['policy', { status: 422, body: DETAIL('content_policy_violation', 'flagged') }, 'content-refused', /refused/],
    [
      'an endpoint that is not there',
      { status: 404, body: { detail: 'Application "flux" not found' } },
      'provider-rejected',
      /Application "flux" not found/,
    ],
  ])('%s is told apart, and costs nothing', async (_, fault, code, words) => {
    standIn.script('submit', ...Array<Fault>(9).fill(fault))
    const { error, calls } = await run()
    expect([error?.code, standIn.count('submit')]).toEqual([code, 1])
    expect(error?.message).toMatch(words)
    expect(calls).toMatchObject([
      { outcome: 'failed', actualUsd: 0, bill: { error: { status: (fault as { status: number }).status } } },
    ])
  })
})

describe('a request that takes too long', () => {
  /** A worker's providers with a time limit of their own. */
  function hurried(timeLimitMs: number): Providers {
    const providers = falProviders(standIn)
    return { ...providers, call: (simulated, request) => providers.call(simulated, { ...request, timeLimitMs }) }
  }

  it('is cancelled at fal, booked at its estimate, and not made again', async () => {
    standIn.makes({ working: 1e9 })
    const { error, calls } = await run({ providers: hurried(1) })
    expect([error?.code, standIn.count('submit'), standIn.count('cancel')]).toEqual(['result-timeout', 1, 1])
    expect(calls).toMatchObject([{ outcome: 'failed', status: 'estimated', actualUsd: 0.025, requestId: 'q-1' }])
  })

  it('costs nothing where it had not begun', async () => {
    standIn.makes({ queued: 1e9 })
    const { error, calls } = await run({ providers: hurried(1) })
    expect([error?.code, standIn.count('submit'), standIn.count('cancel')]).toEqual(['result-timeout', 1, 1])
    expect(calls).toMatchObject([{ outcome: 'failed', actualUsd: 0 }])
  })

  it('counts what was asked for before: a time limit is for all of it', async () => {
    standIn.makes({ working: 1e9 })
    const providers = falProviders(standIn)
    const call: Providers['call'] = (simulated, request) =>
      providers.call(simulated, { ...request, askedForMs: 31 * 60_000 })
    expect((await run({ providers: { ...providers, call } })).error?.code).toBe('result-timeout')
  })
})

describe('a request that the user cancels', () => {
  /** A signal that cancels once fal has said twice that the request is in this state. */
  function cancelledAt(stage: 'queued' | 'working'): AbortSignal {
    standIn.makes({ [stage]: 1e9 })
    const stop = new AbortController()
    async function watch(): Promise<void> {
      while (standIn.count('status') < 2) await new Promise((resolve) => setImmediate(resolve))
      stop.abort('cancel')
    }
    void watch()
    return stop.signal
  }

  it('while it waits in the queue costs nothing', async () => {
    const { calls } = await run({ cancelled: cancelledAt('queued') })
    expect(standIn.count('cancel')).toBe(1)
    expect(calls).toMatchObject([{ outcome: 'cancelled', actualUsd: 0 }])
  })

  it('while it is made counts', async () => {
    const { calls } = await run({ cancelled: cancelledAt('working') })
    expect(standIn.count('cancel')).toBe(1)
    expect(calls).toMatchObject([{ outcome: 'cancelled', actualUsd: 0.025 }])
  })

  it.each([
    ['deadline', 'queued', 'no', 1],
    ['deadline', 'working', 'yes', 1],
    ['shutdown', 'queued', 'yes', 0],
  ] as const)('or that is stopped by %s while it is %s is billed: %s', async (reason, stage, billed, cancels) => {
    standIn.makes({ [stage]: 1e9 })
    const stop = new AbortController()
    const failing = expect(asking({ signal: stop.signal })).rejects.toMatchObject({ failureClass: 'timeout', billed })
    while (standIn.count('status') < 2) await new Promise((resolve) => setImmediate(resolve))
    stop.abort(reason)
    await failing
    expect(standIn.count('cancel')).toBe(cancels)
  })

  it('counts where fal does not confirm that it left the queue', async () => {
    standIn.script('cancel', { status: 500 })
    const { calls } = await runFal(standIn, { cancelled: cancelledAt('queued') })
    expect(calls).toMatchObject([{ outcome: 'cancelled', actualUsd: 0.025 }])
  })
})

describe('what a request used', () => {
  const rates = (model: string, unit: Rate['unit'], usd: number): Rate[] => [
    { model, unit, unit_price_usd: usd, assumed: true },
  ]
  const MEDIA = { id: 'm', kind: 'tool', tool: 'fal/acme/any' }

  it('is what fal counted, in the unit that the price list has for the model', async () => {
    standIn.makes({ usd: 0.3, headers: { 'x-fal-billable-units': '3' }, data: { text: 'done' } })
    const { calls } = await run({ step: MEDIA, rates: rates('fal/acme/any', 'second', 0.1) })
    expect(calls).toMatchObject([{ status: 'provider_reported', quantity: 3, unit: 'second', actualUsd: 0.3 }])
  })

  it.each(['450', '0.45'])('is fal’s count of characters, also by the thousand: %s', async (units) => {
    const spoken = { audio: { url: `data:audio/wav;base64,${aTone(1).toString('base64')}` } }
    standIn.makes({ usd: 0.00675, headers: { 'x-fal-billable-units': units }, data: spoken })
    const step = { id: 'say', kind: 'tool', tool: 'fal/xai-tts', args: { text: 'x'.repeat(450) } }
    const { calls } = await run({ step, rates: rates('fal/xai-tts', 'character', 0.000015) })
    expect(calls).toMatchObject([{ status: 'provider_reported', quantity: 450, unit: 'character' }])
  })

  it.each(['', 'many', '-3', '1e300', 'Infinity', '0x10', '2, 2'])(
    'is not fal’s count where that cannot be one: "%s"',
    async (units) => {
      standIn.makes({ headers: { 'x-fal-billable-units': units } })
      expect((await run()).calls).toMatchObject([{ status: 'measured', actualUsd: 0.025 }])
    },
  )

  it('is not fal’s count where the price list has another unit', async () => {
    standIn.makes({
      usd: 0.0003,
      headers: { 'x-fal-billable-units': '4.2' },
      data: { image: { url: `${standIn.origin}/files/1.png` } },
    })
    const step = { id: 'cut', kind: 'tool', tool: 'fal/birefnet-light' }
    const { calls } = await run({ step, rates: rates('fal/birefnet-light', 'request', 0.0003) })
    expect(calls).toMatchObject([
      { status: 'estimated', actualUsd: 0.0003, bill: { usage: { billable_units: '4.2' } } },
    ])
  })

  it('is else measured by the sizes that the answer names, rounded up for each picture', async () => {
    const sized = (width: number, height: number, at: number) => ({
      url: `${standIn.origin}/files/${at}.png`,
      width,
      height,
    })
    standIn.makes({ usd: 5 * 0.025, data: { images: [sized(2048, 2048, 1), sized(1024, 1000, 2)] } })
    const { calls, artifacts } = await run({ step: { ...FLUX, params: { num_images: 2 } } })
    expect(calls).toMatchObject([{ status: 'measured', quantity: 5, unit: 'megapixel' }])
    expect(artifacts).toHaveLength(2)
  })

  it('is else measured by the bytes', async () => {
    standIn.file(await picture(1536, 1024))
    standIn.makes({ usd: 0.05, data: { images: [{ url: `${standIn.origin}/files/1.png` }] } })
    expect((await run()).calls).toMatchObject([{ status: 'measured', quantity: 2, actualUsd: 0.05 }])
  })

  it('is else what was expected', async () => {
    standIn.makes({ usd: 0.4, data: { text: 'words' } })
    const { calls } = await run({ step: MEDIA, rates: rates('fal/acme/any', 'request', 0.4) })
    expect(calls).toMatchObject([{ status: 'estimated', actualUsd: 0.4 }])
  })

  it.each([
    { width: -102_400, height: 1024 },
    { width: -1024, height: -1024 },
    { width: 'NaN' },
    { width: 1e9 },
    { width: 0 },
  ])('cannot be %j: the request is refused before it is sent', async (size) => {
    const { error, calls } = await run({ step: { ...FLUX, params: { image_size: size as JsonObject } } })
    expect([error?.code, standIn.count('submit'), calls]).toEqual(['invalid-amount', 0, []])
  })
})

describe('a picture that the safety checker took away', () => {
  const flagged = (...flags: boolean[]): JsonObject => ({
    images: flags.map((_, at) => ({ url: `${standIn.origin}/files/${at}.png`, width: 512, height: 512 })),
    has_nsfw_concepts: flags,
  })

  it('is a refusal that is paid for', async () => {
    standIn.makes({ data: flagged(true) })
    const { error, calls } = await run()
    expect([error?.code, standIn.count('submit'), standIn.count('file')]).toEqual(['content-refused', 1, 0])
    expect(calls).toMatchObject([{ status: 'measured', actualUsd: 0.025 }])
  })

  it('is left out, with a warning, where others are not flagged; all are paid for', async () => {
    standIn.makes({ usd: 0.075, data: flagged(false, true, false) })
    const { status, artifacts, progress } = await run({ step: { ...FLUX, params: { num_images: 3 } } })
    expect([status, artifacts.length]).toEqual(['completed', 2])
    expect(progress).toContainEqual(expect.objectContaining({ warning: 'content-refused', files_left_out: 1 }))
  })

  it('is found by its blackness where no flag says so', async () => {
    standIn.file(await picture(512, 512, '#000'))
    const { error, calls } = await run()
    expect([error?.code, standIn.count('submit'), calls[0]?.outcome]).toEqual(['content-refused', 1, 'succeeded'])
  })
})

describe('a worker’s death', () => {
  it('costs no second generation: the next execution asks by the id', async () => {
    const providers = falProviders(standIn)
    const model = fal.provider.model('fal/flux-dev')
    if (model === undefined) throw new Error('there is no such model')
    const asked = { model, request: { prompt: 'a fox' }, files: {}, callId: 'c', signal: AbortSignal.timeout(60_000) }
    let known = ''
    const dying = providers.call(false, {
      ...asked,
      resumeId: null,
      onProgress: () => {},
      onRequestId: async (id) => {
        known = id
        throw new Error('the worker is gone')
      },
    })
    await expect(dying).rejects.toThrow('the worker is gone')
    // A worker that cannot put the id on record cancels what nobody will ask for.
    expect([known, standIn.count('cancel')]).toEqual(['q-1', 1])
    const answer = await providers.call(false, {
      ...asked,
      resumeId: known,
      onProgress: () => {},
      onRequestId: async () => {},
    })
    expect([answer.links?.length, standIn.count('submit')]).toEqual([1, 1])
  })
})

providerClientContract('the live client for fal', async () => {
  const own = await createFalStandIn()
  const model = fal.provider.model('fal/flux-dev')
  if (model === undefined) throw new Error('there is no such model')
  return {
    client: fal.connect({ apiKey: FAL_KEY, baseUrl: own.baseUrl }),
    request: { model, request: { prompt: 'a fox' }, files: {} },
    dispose: () => own.close(),
  }
})
