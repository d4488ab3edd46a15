// Fetches the files that a provider's answer or a user names: from public addresses only, hop by hop, bounded.
// Hides which of its failures are worth another try, and that a provider may answer a file as a `data:` URL.
import { StepFailure } from '@fabrique/engine'
import { createGuardedAgent, RefusedAddressError } from '@fabrique/safe-fetch'
import { Agent, type Dispatcher, request } from 'undici'
import { pauseOf } from './pause.ts'

const BYTES_MAX = 256 * 1024 * 1024
/** Between two pieces of a file, and for all of it. */
const SILENCE_MS_MAX = 60_000
const TIMEOUT_MS = 30 * 60_000
const REDIRECTS_MAX = 5

export interface FetchedFile {
  bytes: Uint8Array
  /** As its sender names it; may be empty or wrong. */
  mimeType: string
}

export type SafeFetch = (url: string, signal: AbortSignal) => Promise<FetchedFile>

/**
 * A fetch for files. `trustedOrigins` are the configured providers' own addresses and may be private.
 * `data:` URLs are decoded in place. Rejects with a transient `StepFailure`, one of code `file-gone`, or, for what will
 * not change (a refused address, too many redirects or bytes), one of class `bad_output`.
 */
export function createSafeFetch(trustedOrigins: readonly string[]): SafeFetch {
  const guarded = createGuardedAgent()
  const open = new Agent()

  async function hop(url: URL, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
    const { protocol, username, origin } = url
    if (!/^https?:$/.test(protocol) || username !== '')
      throw unfit('A provider named a file at an address that is not http(s).')
    return await request(url, {
      dispatcher: trustedOrigins.includes(origin) ? open : guarded,
      signal,
      headers: { 'accept-encoding': 'identity' },
      headersTimeout: SILENCE_MS_MAX,
      bodyTimeout: SILENCE_MS_MAX,
    })
  }

  return async function safeFetch(named, stop) {
    if (named.startsWith('data:')) return decodeDataUrl(named)
    let url = URL.parse(named)
    const signal = AbortSignal.any([stop, AbortSignal.timeout(TIMEOUT_MS)])
    try {
      for (let redirects = 0; url !== null && redirects <= REDIRECTS_MAX; redirects += 1) {
        const { statusCode: status, headers, body } = await hop(url, signal)
        if (status === 200) {
          const [type = ''] = [headers['content-type']].flat()
          const bytes = await readBody(body, BYTES_MAX, () => unfit('A produced file is larger than 256 MiB.'))
          if (bytes.byteLength === 0) throw new Error('the file was empty')
          return { bytes, mimeType: type.split(';')[0]?.trim() ?? '' }
        }
        await body.dump()
        const [location] = [headers.location].flat()
        if (status < 300 || status >= 400 || location === undefined) throw notServed(status, headers)
        url = URL.parse(location, url.href)
      }
    } catch (error) {
      if (StepFailure.is(error)) throw error
      if (isRefused(error)) throw unfit('A provider named a file at an address that is not public.')
      throw new StepFailure('server', 'A produced file could not be fetched.', { billed: 'yes', cause: error })
    }
    throw unfit(
      url === null ? 'A provider named a file at no address.' : 'A produced file is behind too many redirects.',
    )
  }
}

function notServed(status: number, headers: Dispatcher.ResponseData['headers']): StepFailure {
  const failureClass = status === 429 ? 'rate_limit' : status < 500 && status >= 400 ? 'invalid' : 'server'
  const retryAfterMs = pauseOf({ get: (name) => [headers[name]].flat()[0] ?? null })
  return new StepFailure(failureClass, `A produced file could not be fetched (HTTP ${status}).`, {
    billed: 'yes',
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(status === 404 || status === 410 ? { code: 'file-gone' } : {}),
  })
}

function unfit(message: string): StepFailure {
  return new StepFailure('bad_output', message, { billed: 'yes' })
}

function isRefused(error: unknown): boolean {
  return error instanceof RefusedAddressError || (error instanceof Error && error.cause instanceof RefusedAddressError)
}

/** All of a body of up to `bytesMax`; a longer one rejects with `tooMuch`, one that breaks off with the error of its connection. */
export async function readBody(
  body: Dispatcher.ResponseData['body'],
  bytesMax: number,
  tooMuch: () => StepFailure,
): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let total = 0
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    total += chunk.byteLength
    if (total > bytesMax) throw tooMuch()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** The bytes of a `data:` URL; fails as `bad_output` where it is broken. */
export function decodeDataUrl(url: string): FetchedFile {
  const comma = url.indexOf(',')
  const [type = '', ...parameters] = url.slice('data:'.length, Math.max(comma, 0)).slice(0, 1_000).split(';')
  const body = url.slice(comma + 1)
  try {
    if (comma === -1 || body.length > BYTES_MAX) throw new Error('no bytes, or too many')
    const bytes = parameters.at(-1) === 'base64' ? Buffer.from(body, 'base64') : Buffer.from(decodeURIComponent(body))
    if (bytes.byteLength === 0) throw new Error('no bytes')
    return { bytes, mimeType: type }
  } catch (cause) {
    throw new StepFailure('bad_output', 'A provider answered a broken data URL.', { billed: 'yes', cause })
  }
}
