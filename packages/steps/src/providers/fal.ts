// fal: any model by path, always through its queue, so that a request survives us and can be asked for again.
// Hides the SDK's own retries (switched off in `fetch`) and where fal keeps the files that it makes.
import { setTimeout as delay } from 'node:timers/promises'
import type { FileLink, InputFile, Model, Provider, ProviderRequest } from '@fabrique/engine'
import { StepFailure } from '@fabrique/engine'
import { isJsonObject, type JsonObject, type JsonValue, textOf } from '@fabrique/schema'
import type { FalClient } from '@fal-ai/client'
import { connectionFailure, expectedSpeech, httpFailure, type ProviderAdapter } from './adapter.ts'
import { createSafeFetch } from './safe-fetch.ts'

const POLL_FIRST_MS = 100
const POLL_MAX_MS = 2_000
const QUEUE_ORIGIN = 'https://queue.fal.run'

/** Short names for endpoints with settings of their own; any other `fal/<owner>/<path>` is taken as it is. */
const NAMED: Record<string, Pick<Model, 'endpoint' | 'capability' | 'operation'> & { defaults?: JsonObject }> = {
  'fal/birefnet-light': {
    endpoint: 'fal-ai/birefnet/v2',
    capability: 'matte',
    operation: 'background.remove',
    defaults: { model: 'General Use (Light)', output_format: 'png' },
  },
  'fal/flux-dev': { endpoint: 'fal-ai/flux/dev', capability: 'image', operation: 'image.generate' },
  'fal/flux-schnell': { endpoint: 'fal-ai/flux/schnell', capability: 'image', operation: 'image.generate' },
  'fal/xai-tts': {
    endpoint: 'xai/tts/v1',
    capability: 'speech',
    operation: 'audio.speech',
    defaults: { language: 'auto', output_format: { codec: 'wav', sample_rate: 24_000 } },
  },
  'fal/fabric-1.0': { endpoint: 'veed/fabric-1.0', capability: 'video', operation: 'video.talking-head' },
  'fal/kling-2.5-turbo': {
    endpoint: 'fal-ai/kling-video/v2.5-turbo/standard/image-to-video',
    capability: 'video',
    operation: 'video.generate',
  },
}

const provider: Provider = {
  name: 'fal',
  model(name): Model | undefined {
    const named = Object.hasOwn(NAMED, name) ? NAMED[name] : undefined
    if (named !== undefined) return { name, provider: 'fal', ...named }
    const endpoint = /^fal\/([a-z0-9][a-z0-9-]*(?:\/[a-z0-9][a-z0-9.-]*){1,6})$/.exec(name)?.[1]
    return endpoint === undefined
      ? undefined
      : { name, provider: 'fal', capability: 'media', endpoint, operation: 'queue.submit' }
  },
  expectedUsage(model, request) {
    if (model.capability === 'image') {
      const { width = 1024, height = 768 } = isJsonObject(request.params) ? request.params : {}
      return [{ unit: 'megapixel', quantity: Math.ceil((Number(width) * Number(height)) / 1_048_576) }]
    }
    if (model.capability === 'video') {
      const args = isJsonObject(request.args) ? request.args : {}
      const seconds = Number(args.duration)
      return [
        {
          unit: 'second',
          quantity: Number.isFinite(seconds) ? seconds : 30,
          facts: { resolution: textOf(args.resolution ?? '480p') },
        },
      ]
    }
    if (model.capability === 'speech') return expectedSpeech(request)
    return [{ unit: 'request', quantity: 1 }]
  },
  reserved: (_, { prompt, args }) => [
    ...(prompt === undefined ? [] : [{ path: ['prompt'], instead: 'the promptTemplate is it' }]),
    // A file is sent as `image_url`, by whichever of the two names it is given.
    ...Object.entries(isJsonObject(args) ? args : {})
      .filter(([, value]) => typeof value === 'string' && value.startsWith('{'))
      .map(([name]) => ({ path: [`${name}_url`], instead: `"${name}" says it already` })),
  ],
}

export const fal: ProviderAdapter = {
  provider,
  connect({ apiKey, baseUrl }) {
    const base = (baseUrl ?? QUEUE_ORIGIN).replace(/\/+$/, '')
    const fetchFile = createSafeFetch(baseUrl === undefined ? [] : [new URL(base).origin])
    let client: Promise<FalClient> | undefined
    async function connected(): Promise<FalClient> {
      const { createFalClient } = await import('@fal-ai/client')
      return createFalClient({
        credentials: apiKey,
        suppressLocalCredentialsWarning: true,
        requestMiddleware: async (request) => ({ ...request, url: request.url.replace(QUEUE_ORIGIN, base) }),
        fetch: fetchOnce,
      })
    }

    async function result(
      connection: FalClient,
      { model, signal, onProgress }: ProviderRequest,
      requestId: string,
    ): Promise<JsonObject> {
      let position: number | undefined
      for (let wait = POLL_FIRST_MS; ; wait = Math.min(wait * 1.5, POLL_MAX_MS)) {
        const status = await connection.queue.status(model.endpoint, { requestId, abortSignal: signal }).catch(orLater)
        if (status?.status === 'COMPLETED') break
        if (status?.status === 'IN_QUEUE' && status.queue_position !== position) {
          position = status.queue_position
          onProgress({ queue_position: position ?? null })
        }
        await delay(wait, undefined, { signal })
      }
      const { data } = await connection.queue.result(model.endpoint, { requestId, abortSignal: signal })
      return isJsonObject(data) ? data : {}
    }

    return {
      async call(request) {
        client ??= connected()
        const connection = await client
        let requestId = request.resumeId
        try {
          if (requestId === null) {
            const input = inputOf(request)
            const submitted = await connection.queue.submit(request.model.endpoint, {
              input,
              abortSignal: request.signal,
            })
            requestId = submitted.request_id
            await request.onRequestId(requestId)
          }
          const data = await result(connection, request, requestId)
          return {
            output: withoutFiles(data),
            files: [],
            links: filesIn(data),
            usage: provider.expectedUsage(request.model, request.request),
            basis: 'expected',
          }
        } catch (error) {
          if (request.signal.aborted && request.signal.reason === 'cancel' && requestId !== null) {
            // Best effort: a request that runs already may be billed all the same.
            await connection.queue.cancel(request.model.endpoint, { requestId }).catch(() => {})
          }
          if (request.signal.aborted)
            throw new StepFailure('timeout', 'The call to fal was stopped.', {
              billed: requestId === null ? 'unknown' : 'yes',
              cause: error,
            })
          throw error
        }
      },
      async fetch({ name, url }, signal) {
        const { bytes, contentType } = await fetchFile(url, signal)
        return { name, mimeType: contentType, bytes }
      },
    }
  },
}

/** fetch whose failures are ours at once: the SDK would send a paid POST up to four times. */
async function fetchOnce(input: string | URL | Request, init?: RequestInit): Promise<Response> {
  let response: Response
  try {
    response = await fetch(input, { ...init, redirect: 'error' })
  } catch (error) {
    throw connectionFailure('fal', error)
  }
  if (response.ok) return response
  const body = await response.text().catch(() => '')
  const refused = response.status === 422 && /content_policy|nsfw|safety/i.test(body.slice(0, 4096))
  throw httpFailure('fal', response.status, { retryAfter: response.headers.get('retry-after'), refused })
}

/** While a request stands in fal's queue, a failed look at it is no reason to give it up. */
function orLater(error: unknown): undefined {
  if (StepFailure.is(error) && (error.failureClass === 'server' || error.failureClass === 'rate_limit'))
    return undefined
  throw error
}

/** Files go inline as data URLs: no second service, nothing left behind. `image` is sent as fal's `image_url`. */
function inputOf({ model, request, files }: ProviderRequest): JsonObject {
  const params = isJsonObject(request.params) ? request.params : {}
  const args = isJsonObject(request.args) ? request.args : {}
  const prompt = typeof request.prompt === 'string' ? { prompt: request.prompt } : {}
  const inline = Object.entries(files).map(([name, file]) => [
    name.endsWith('_url') ? name : `${name}_url`,
    dataUrl(file),
  ])
  return { ...model.defaults, ...params, ...args, ...prompt, ...Object.fromEntries(inline) }
}

function dataUrl({ record, bytes }: InputFile): string {
  return `data:${record.mimeType};base64,${Buffer.from(bytes).toString('base64')}`
}

/** The files of an answer: `{image: {url}}`, `{images: [{url}]}`, `{video: {url}}` … */
function filesIn(data: JsonObject): FileLink[] {
  return Object.entries(data).flatMap(([name, value]) =>
    [value]
      .flat()
      .flatMap((entry: JsonValue): FileLink[] =>
        isJsonObject(entry) && typeof entry.url === 'string' ? [{ name, url: entry.url }] : [],
      ),
  )
}

function withoutFiles(data: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(data).filter(([name]) => filesIn({ [name]: data[name] ?? null }).length === 0),
  )
}
