// Fetches the files that a provider's answer or a user names: from public addresses only, no redirects, bounded.
// Hides which of its failures are worth another try, and that a provider may answer a file as a `data:` URL.
import { StepFailure } from '@fabrique/engine'
import { createGuardedAgent } from '@fabrique/safe-fetch'
import { fetch, type Response } from 'undici'

const BYTES_MAX = 256 * 1024 * 1024
const TIMEOUT_MS = 120_000

export type SafeFetch = (url: string, signal: AbortSignal) => Promise<{ bytes: Uint8Array; contentType: string }>

/**
 * A fetch for files. `trustedOrigins` are the configured providers' own addresses and may be private.
 * `data:` URLs are decoded in place. Rejects with a transient `StepFailure`; a refusal by address is `bad_output`.
 */
export function createSafeFetch(trustedOrigins: readonly string[]): SafeFetch {
  const guarded = createGuardedAgent()

  return async function safeFetch(url, signal) {
    if (url.startsWith('data:')) return decodeDataUrl(url)
    const parsed = URL.parse(url)
    if (parsed === null || !/^https?:$/.test(parsed.protocol) || parsed.username !== '') {
      throw new StepFailure('bad_output', 'A provider named a file at an address that is not http(s).', {
        billed: 'yes',
      })
    }
    const trusted = trustedOrigins.includes(parsed.origin)
    try {
      const response = await fetch(parsed, {
        redirect: 'error',
        signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
        ...(trusted ? {} : { dispatcher: guarded }),
      })
      if (!response.ok)
        throw new StepFailure('server', `A produced file could not be fetched (HTTP ${response.status}).`, {
          billed: 'yes',
          ...(response.status === 404 || response.status === 410 ? { code: 'file-gone' } : {}),
        })
      return {
        bytes: await readBounded(response),
        contentType: response.headers.get('content-type')?.split(';')[0] ?? '',
      }
    } catch (error) {
      if (StepFailure.is(error)) throw error
      throw new StepFailure('server', 'A produced file could not be fetched.', { billed: 'yes', cause: error })
    }
  }
}

async function readBounded(response: Response): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let total = 0
  for await (const chunk of response.body ?? []) {
    total += chunk.byteLength
    if (total > BYTES_MAX)
      throw new StepFailure('bad_output', 'A produced file is larger than 256 MiB.', { billed: 'yes' })
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function decodeDataUrl(url: string): { bytes: Uint8Array; contentType: string } {
  const match = /^data:([^;,]*)(?:;[^,]*?)?(;base64)?,(.*)$/s.exec(url)
  if (match === null || url.length > BYTES_MAX)
    throw new StepFailure('bad_output', 'A provider answered a broken data URL.', { billed: 'yes' })
  const [, type = '', base64, body = ''] = match
  const bytes = base64 === undefined ? Buffer.from(decodeURIComponent(body)) : Buffer.from(body, 'base64')
  return { bytes, contentType: type }
}
