// fal: any model by path, always through its queue, so that a request survives us and can be asked for again.
// Hides how a request goes through the queue: what is looked at until when, and what it costs where it is not made.
import { setTimeout as delay } from 'node:timers/promises'
import type { CallFacts, Model, Provider, ProviderAnswer, ProviderRequest } from '@fabrique/engine'
import { isForGood, StepFailure } from '@fabrique/engine'
import { isJsonObject, objectOf, type JsonObject, textOf } from '@fabrique/schema'
import { dataUrl, type ProviderAdapter } from './adapter.ts'
import { causeOf } from './causes.ts'
import { isDataUrl, readAnswer, textsIn } from './fal-answer.ts'
import { connectQueue, isFailure, isModelsWord, type Queue, type Reply, toldBy } from './fal-queue.ts'
import { billedUsage, expectedUsage, type Expects, measuredUsage } from './fal-usage.ts'
import { createSafeFetch, decodeDataUrl } from './safe-fetch.ts'

const LOOK_FIRST_MS = 100
const LOOK_MS_MAX = 2_000
const TIME_LIMIT_MS = 30 * 60_000
const QUEUE_ORIGIN = 'https://queue.fal.run'
/** What fal calls a request that is neither waiting nor worked at. */
const OVER = /^(?:COMPLETED|FAILED|ERROR|CANCELL?ED)$/
/** Only these answers hold files whatever was asked. */
const MAKING: readonly Model['capability'][] = ['image', 'video', 'matte', 'speech']

/** Short names for endpoints with settings of their own; any other `fal/<owner>/<path>` is taken as it is. */
const NAMED: Record<
  string,
  Pick<Model, 'endpoint' | 'capability' | 'operation'> & { defaults?: JsonObject } & Expects
> = {
  'fal/birefnet-light': {
    endpoint: 'fal-ai/birefnet/v2',
    capability: 'matte',
    operation: 'background.remove',
    defaults: { model: 'General Use (Light)', output_format: 'png' },
    unit: 'request',
    billedIn: 'compute_second',
  },
  'fal/flux-dev': {
    endpoint: 'fal-ai/flux/dev',
    capability: 'image',
    operation: 'image.generate',
    unit: 'megapixel',
  },
  'fal/flux-schnell': {
    endpoint: 'fal-ai/flux/schnell',
    capability: 'image',
    operation: 'image.generate',
    unit: 'megapixel',
  },
  'fal/fabric-1.0': {
    endpoint: 'veed/fabric-1.0',
    capability: 'video',
    operation: 'video.talking-head',
    unit: 'second',
    seconds: 30,
    resolution: '480p',
  },
  'fal/xai-tts': {
    endpoint: 'xai/tts/v1',
    capability: 'speech',
    operation: 'audio.speech',
    defaults: { language: 'auto', output_format: { codec: 'wav', sample_rate: 24_000 } },
    unit: 'character',
  },
  'fal/kling-2.5-turbo': {
    endpoint: 'fal-ai/kling-video/v2.5-turbo/standard/image-to-video',
    capability: 'video',
    operation: 'video.generate',
    unit: 'second',
  },
}

function expectsOf({ name }: Model): Expects {
  return (Object.hasOwn(NAMED, name) ? NAMED[name] : undefined) ?? { unit: 'request' }
}

const provider: Provider = {
  name: 'fal',
  model(name): Model | undefined {
    const named = Object.hasOwn(NAMED, name) ? NAMED[name] : undefined
    if (named !== undefined) {
      const { endpoint, capability, operation, defaults } = named
      return { name, provider: 'fal', endpoint, capability, operation, ...(defaults === undefined ? {} : { defaults }) }
    }
    const endpoint = /^fal\/([a-z0-9][a-z0-9-]*(?:\/[a-z0-9][a-z0-9.-]*){1,6})$/.exec(name)?.[1]
    return endpoint === undefined
      ? undefined
      : { name, provider: 'fal', capability: 'media', endpoint, operation: 'queue.submit' }
  },
  expectedUsage: (model, request, outlook) => expectedUsage(model, request, expectsOf(model), outlook?.files),
  measure: (model, request, made) => measuredUsage(model, request, expectsOf(model), made),
  makes({ capability, defaults }, { params, args }) {
    const said = { ...defaults, ...objectOf(params), ...objectOf(args) }
    const { output_format: format } = said
    const codec = textOf(isJsonObject(format) ? format.codec : format)
    const of = (subtypes: Record<string, string>) => (Object.hasOwn(subtypes, codec) ? subtypes[codec] : '*')
    if (capability === 'image' || capability === 'matte')
      return `image/${of({ png: 'png', jpeg: 'jpeg', jpg: 'jpeg', webp: 'webp', gif: 'gif' })}`
    if (capability === 'speech') return `audio/${of({ wav: 'wav', mp3: 'mpeg' })}`
    return capability === 'video' ? 'video/*' : undefined
  },
  reserved: (_, { prompt, args }) => [
    ...(prompt === undefined ? [] : [{ path: ['prompt'], instead: 'the promptTemplate is it' }]),
    // A file is sent as `image_url`, by whichever of the two names it is given.
    ...Object.entries(objectOf(args))
      .filter(([, value]) => typeof value === 'string' && value.startsWith('{'))
      .map(([name]) => ({ path: [`${name}_url`], instead: `"${name}" says it already` })),
  ],
}

export const fal: ProviderAdapter = {
  provider,
  connect({ apiKey, baseUrl }) {
    const base = (baseUrl ?? QUEUE_ORIGIN).replace(/(?<!\/)\/+$/, '')
    const open = connectQueue({ apiKey, base })
    const fetchFile = createSafeFetch(baseUrl === undefined ? [] : [new URL(base).origin])
    return {
      async call(request) {
        const queue = open(request.model.endpoint)
        const requestId = request.resumeId ?? (await submit(queue, request))
        return await made(queue, request, requestId)
      },
      async fetch({ name, url }, signal) {
        return { name, ...(await fetchFile(url, signal)) }
      },
    }
  },
}

/** Sends the request, once, and puts fal's id of it on record. */
async function submit(queue: Queue, request: ProviderRequest): Promise<string> {
  const { signal, timeLimitMs = TIME_LIMIT_MS } = request
  if (signal.aborted) throw new StepFailure('timeout', 'The call was stopped before it was made.')
  const reply = await queue.submit(inputOf(request), signal, timeLimitMs).catch((error: unknown) => {
    throw signal.aborted ? stopped('unknown', error) : error
  })
  if (!reply.isOk) throw failureOf(reply, request)
  const requestId = textOf(reply.data?.request_id)
  if (requestId === '' || requestId.length > 200) {
    const message = 'fal took the request, and its answer cannot be read.'
    throw new StepFailure('bad_output', message, { billed: 'unknown', code: 'unreadable' })
  }
  try {
    await request.onRequestId(requestId)
  } catch (error) {
    // Nobody will ask for it.
    await queue.cancel(requestId).catch(() => {})
    throw error
  }
  return requestId
}

/** Waits for a request that fal has accepted, and answers what became of it. */
async function made(queue: Queue, request: ProviderRequest, requestId: string): Promise<ProviderAnswer> {
  const { signal, onProgress, timeLimitMs = TIME_LIMIT_MS, askedForMs = 0 } = request
  const deadlineMs = performance.now() + timeLimitMs - askedForMs
  let status: string | undefined
  let position: number | undefined
  try {
    for (let pauseMs = LOOK_FIRST_MS; ; pauseMs = Math.min(pauseMs * 1.5, LOOK_MS_MAX)) {
      const look = await queue.look(requestId, signal)
      status = textOf(look.data?.status)
      if (!look.isOk || status === '') throw failureOf(look, request)
      if (OVER.test(status)) return await resultOf(queue, request, requestId, look)
      if (performance.now() >= deadlineMs) throw await givenUp(queue, requestId, status, request)
      const { queue_position: at } = look.data ?? {}
      if (status === 'IN_QUEUE' && typeof at === 'number' && at !== position) {
        position = at
        onProgress({ queue_position: position })
      }
      await delay(pauseMs, undefined, { signal })
    }
  } catch (error) {
    if (!signal.aborted) throw error
    const isFree = isForGood(signal) && (await cancel(queue, requestId, status))
    throw stopped(isFree ? 'no' : 'yes', error)
  }
}

function stopped(billed: 'no' | 'yes' | 'unknown', cause: unknown): StepFailure {
  return new StepFailure('timeout', 'The call to fal was stopped.', { billed, cause })
}

/** Cancels a request that takes too long. It is not made again: it may be done all the same. */
async function givenUp(queue: Queue, requestId: string, status: string, { model }: ProviderRequest) {
  const isFree = await cancel(queue, requestId, status)
  const where = status === 'IN_QUEUE' ? 'did not begin' : 'was not done'
  return new StepFailure('undelivered', `The request to "${model.name}" ${where} within its time limit.`, {
    billed: isFree ? 'no' : 'yes',
    code: 'result-timeout',
    isFinal: true,
    provider: { type: status.slice(0, 100), request_id: requestId },
  })
}

/** Cancels a request; true where it costs nothing, because it was in the queue and fal confirms that it left it. */
async function cancel(queue: Queue, requestId: string, status: string | undefined): Promise<boolean> {
  const reply = await queue.cancel(requestId).catch(() => null)
  if (status !== 'IN_QUEUE' || reply?.isOk !== true) return false
  if (reply.data?.status === 'OK') return true
  // It was in the queue when it was last looked at, and may have begun since.
  const look = await queue.look(requestId, AbortSignal.timeout(LOOK_MS_MAX)).catch(() => null)
  return look?.data?.status !== 'IN_PROGRESS'
}

/** The result of a request that is over. A refusal that is the model's own is believed when it is said twice. */
async function resultOf(
  queue: Queue,
  request: ProviderRequest,
  requestId: string,
  look: Reply,
): Promise<ProviderAnswer> {
  for (let times = 1; ; times += 1) {
    const reply = await queue.result(requestId, request.signal)
    const counted = countedBy(request, requestId, look, reply)
    // 202 says that it is not there yet.
    if (reply.isOk && reply.status !== 202 && reply.data !== undefined)
      return answerOf(request, counted, reply, reply.data)
    const isFinal = !reply.isOk && (isModelsWord(reply) || isFailure(look.data ?? {}))
    if (isFinal && times === 1) continue
    throw failureOf(reply, request, isFinal ? counted : undefined)
  }
}

/** The failure behind an answer. With `facts`, it is fal's last word on a request that it had accepted. */
function failureOf(reply: Reply, { request }: ProviderRequest, facts?: CallFacts): StepFailure {
  const told = toldBy(reply)
  const isUnreadable = reply.isOk ? told.message === '' : reply.status < 400
  if (isUnreadable && facts === undefined) {
    const message = `fal answered something that cannot be read (HTTP ${reply.status}).`
    return new StepFailure('server', message, { billed: reply.isOk ? 'unknown' : 'no', code: 'unreadable' })
  }
  const asked = textsIn(request).filter((text) => text === request.prompt || /\s/.test(text.slice(0, 1_000)))
  if (facts === undefined) return causeOf(told, asked)
  // fal never charges for a fault of its servers; for a request that a model refuses it may.
  const billed = reply.status >= 500 ? 'no' : 'yes'
  const last = { isFinal: true, billed, facts } as const
  const failure = causeOf({ ...told, requestId: facts.requestId }, asked, last)
  if (!reply.isOk || failure.failureClass !== 'server') return failure
  // A fault inside a success is paid for, so that it is not made again like one of the servers.
  return new StepFailure('bad_output', failure.message, {
    ...last,
    ...(failure.provider && { provider: failure.provider }),
  })
}

/** What is known of the use of a request that is over: what fal counted; no usage where it says nothing. */
function countedBy({ model, request }: ProviderRequest, requestId: string, look: Reply, reply: Reply): CallFacts {
  const header = reply.header('x-fal-billable-units')
  const { inference_time: inference } = isJsonObject(look.data?.metrics) ? look.data.metrics : {}
  const reported: JsonObject = {
    ...(header === undefined ? {} : { billable_units: header.slice(0, 100) }),
    ...(typeof inference === 'number' ? { inference_time: inference } : {}),
  }
  return {
    usage: billedUsage(model, request, expectsOf(model), header) ?? [],
    requestId,
    ...(Object.keys(reported).length === 0 ? {} : { reported }),
  }
}

/** The answer that a result is, with its use: counted by fal, else measured by what it says of its files, else expected. */
function answerOf(request: ProviderRequest, counted: CallFacts, reply: Reply, data: JsonObject): ProviderAnswer {
  const { model, request: asked, onProgress } = request
  const given = Object.values(request.files).map(({ record }) => record)
  const { made: all, files, flagged, output } = readAnswer(data, asked)
  const said = all.map((file) => file.said)
  const measured = counted.usage.length > 0 ? null : measuredUsage(model, asked, expectsOf(model), said)
  const facts: CallFacts =
    counted.usage.length > 0
      ? counted
      : measured === null
        ? { ...counted, usage: expectedUsage(model, asked, expectsOf(model), given), basis: 'expected' }
        : { ...counted, usage: measured, basis: 'measured' }
  const last = { billed: 'yes', isFinal: true, facts } as const
  if (files.length === 0 && flagged > 0) {
    const message = 'fal made something that its safety checker flagged, and kept it back. Change what is asked for.'
    throw new StepFailure('refused', message, { ...last, code: 'content-refused' })
  }
  if (files.length === 0 && isFailure(data)) throw failureOf(reply, request, facts)
  if (files.length === 0 && MAKING.includes(model.capability))
    throw new StepFailure('bad_output', 'fal answered without a file.', last)
  if (flagged > 0) onProgress({ warning: 'content-refused', files_left_out: flagged })
  const links = files.filter(({ url }) => !isDataUrl(url)).map(({ name, url }) => ({ name, url }))
  try {
    const here = files.filter(({ url }) => isDataUrl(url)).map(({ name, url }) => ({ name, ...decodeDataUrl(url) }))
    return { ...facts, output, files: here, links }
  } catch (cause) {
    throw new StepFailure('bad_output', 'fal answered a file that cannot be read.', {
      ...last,
      code: 'unreadable',
      cause,
    })
  }
}

/** Files go inline as data URLs: no second service, nothing left behind. `image` is sent as fal's `image_url`. */
function inputOf({ model, request, files }: ProviderRequest): JsonObject {
  const params = objectOf(request.params)
  const args = objectOf(request.args)
  const prompt = typeof request.prompt === 'string' ? { prompt: request.prompt } : {}
  const inline: Record<string, string | string[]> = {}
  for (const [place, file] of Object.entries(files)) {
    // `image`, or `images/0` for one of a list.
    const [name = '', index] = place.split('/')
    const isList = index !== undefined || name.endsWith('_urls')
    const field = /_urls?$/.test(name) ? name : isList ? `${name.replace(/s$/, '')}_urls` : `${name}_url`
    inline[field] = isList ? [inline[field] ?? [], dataUrl(file)].flat() : dataUrl(file)
  }
  return { ...model.defaults, ...params, ...args, ...prompt, ...inline }
}
