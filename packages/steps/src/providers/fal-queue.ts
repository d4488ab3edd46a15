// fal's queue by HTTP: a request is submitted, looked at, asked for its result, and cancelled, each by one request.
// Hides addresses and limits, and how fal says what went wrong. Nothing here is ever sent twice: a submit costs money.
import { StepFailure } from '@fabrique/engine'
import { isJsonObject, objectOf, type JsonObject, type JsonValue, textOf } from '@fabrique/schema'
import { Agent, type Dispatcher, request as send } from 'undici'
import { connectionFailure } from './adapter.ts'
import type { Told } from './causes.ts'
import { pauseOf } from './pause.ts'
import { readBody } from './safe-fetch.ts'

/** Between two pieces of an answer. A submit is answered when fal has it, however long that takes. */
const SILENCE_MS_MAX = 60_000
const CANCEL_MS_MAX = 10_000
/** A result may hold its files as `data:` URLs; everything else is small. */
const RESULT_BYTES_MAX = 192 * 1024 * 1024
const ANSWER_BYTES_MAX = 1024 * 1024
const ITEMS_TOLD = 3

/** An answer of fal as it came; `data` is absent where it is not a JSON object. */
export interface Reply {
  status: number
  isOk: boolean
  data: JsonObject | undefined
  /** The first value of a header. */
  header(name: string): string | undefined
}

/** fal's queue of one endpoint. Rejects with a `StepFailure` where there is no whole answer; any status is an answer. */
export interface Queue {
  submit(input: JsonObject, signal: AbortSignal, timeLimitMs: number): Promise<Reply>
  look(requestId: string, signal: AbortSignal): Promise<Reply>
  result(requestId: string, signal: AbortSignal): Promise<Reply>
  cancel(requestId: string): Promise<Reply>
}

/** A connection to fal, or to whatever stands at `base`; its answer opens the queue of an endpoint. */
export function connectQueue({ apiKey, base }: { apiKey: string; base: string }): (endpoint: string) => Queue {
  const dispatcher = new Agent()

  async function ask(
    method: Dispatcher.HttpMethod,
    path: string,
    options: { signal: AbortSignal; body?: string; silenceMsMax?: number; bytesMax?: number },
  ): Promise<Reply> {
    const { signal, body, silenceMsMax = SILENCE_MS_MAX, bytesMax = ANSWER_BYTES_MAX } = options
    try {
      const response = await send(`${base}/${path}`, {
        method,
        dispatcher,
        signal,
        headersTimeout: silenceMsMax,
        bodyTimeout: SILENCE_MS_MAX,
        headers: {
          authorization: `Key ${apiKey}`,
          accept: 'application/json',
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body }),
      })
      const { statusCode: status, headers } = response
      const data = parsed(await readBody(response.body, bytesMax, () => tooMuch(bytesMax)))
      return {
        status,
        isOk: status >= 200 && status < 300,
        data,
        header: (name) => [headers[name]].flat()[0],
      }
    } catch (error) {
      throw StepFailure.is(error) ? error : connectionFailure('fal', error)
    }
  }

  return (endpoint) => {
    // Only a submit names the whole endpoint.
    const parts = endpoint.split('/')
    const app = parts.slice(0, ['workflows', 'comfy'].includes(parts[0] ?? '') ? 3 : 2).join('/')
    const at = (requestId: string) => `${app}/requests/${encodeURIComponent(requestId)}`
    return {
      submit: (input, signal, timeLimitMs) =>
        ask('POST', endpoint, { signal, body: JSON.stringify(input), silenceMsMax: Math.max(timeLimitMs, 1) }),
      look: (requestId, signal) => ask('GET', `${at(requestId)}/status`, { signal }),
      result: (requestId, signal) => ask('GET', at(requestId), { signal, bytesMax: RESULT_BYTES_MAX }),
      cancel: (requestId) => ask('PUT', `${at(requestId)}/cancel`, { signal: AbortSignal.timeout(CANCEL_MS_MAX) }),
    }
  }
}

function tooMuch(bytesMax: number): StepFailure {
  return new StepFailure('bad_output', `fal answered more than ${bytesMax / 1024 / 1024} MiB.`, { billed: 'unknown' })
}

function parsed(bytes: Buffer): JsonObject | undefined {
  try {
    const data: unknown = JSON.parse(bytes.toString())
    return isJsonObject(data) ? data : undefined
  } catch {
    return undefined
  }
}

/** What an answer says of a failure: `{detail: [{loc, msg, type, ctx}]}`, `{detail, error_type}`, or `{error}`. */
export function toldBy({ status, isOk, data = {}, header }: Reply): Told {
  const items = (Array.isArray(data.detail) ? data.detail : []).filter(isJsonObject).slice(0, ITEMS_TOLD)
  const [first] = items
  const { error } = data
  const message =
    items.map(saidOf).join('; ') ||
    textOf(data.detail) ||
    (isJsonObject(error) ? textOf(error.message) : textOf(error)) ||
    textOf(data.message)
  return {
    provider: 'fal',
    ...(isOk ? {} : { status }),
    type:
      first?.type ?? data.error_type ?? header('x-fal-error-type') ?? (isJsonObject(error) ? error.type : undefined),
    code: isJsonObject(error) ? error.code : undefined,
    message,
    ...(first === undefined ? {} : { param: placeOf(first) }),
    requestId: header('x-fal-request-id'),
    retryAfterMs: pauseOf({ get: (name) => header(name) ?? null }, message),
  }
}

/** One item of a `detail`: where, what, and the bounds that the words leave out. Never its `input`. */
function saidOf(item: JsonObject): string {
  const message = textOf(item.msg)
  const bounds = Object.entries(objectOf(item.ctx))
    .map(([name, value]) => [name, [value].flat().slice(0, 8).map(textOf).join(', ')] as const)
    .filter(([, value]) => value !== '' && value.length <= 80 && !message.includes(value))
  const within = bounds.length === 0 ? '' : ` (${bounds.map(([name, value]) => `${name} ${value}`).join(', ')})`
  const place = placeOf(item)
  return `${place === '' || message.includes(place) ? '' : `${place}: `}${message}${within}`
}

/** `image_size.width` for `["body", "image_size", "width"]`. */
function placeOf({ loc }: JsonObject): string {
  const path: JsonValue[] = Array.isArray(loc) ? loc.slice(0, 8) : []
  return path
    .filter((part, index) => index > 0 || part !== 'body')
    .map(textOf)
    .join('.')
    .slice(0, 100)
}

/** Whether data says that a request failed: `error`, `error_type`, or a `detail` of typed items. */
export function isFailure({ detail, error, error_type: type }: JsonObject): boolean {
  if (Array.isArray(detail) && detail.some((item) => isJsonObject(item) && typeof item.type === 'string')) return true
  return typeof type === 'string' || isJsonObject(error) || (typeof error === 'string' && error !== '')
}

/** Whether a refusal is the model's own, which stays what it is, and not of whatever stands before it. */
export function isModelsWord({ data = {}, header }: Reply): boolean {
  const marks = ['x-fal-error-type', 'x-fal-retryable', 'x-fal-billable-units']
  return isFailure(data) || marks.some((name) => header(name) !== undefined)
}
