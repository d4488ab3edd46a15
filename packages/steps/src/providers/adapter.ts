// What a provider's file exports: what it offers, how it is configured, how it is reached.
import { type Provider, type ProviderClient, StepFailure } from '@fabrique/engine'
import { isJsonObject, type JsonObject, textOf, type Usage } from '@fabrique/schema'

/** About half a minute. */
const EXPECTED_SPEECH_CHARACTERS = 450

export interface ProviderSettings {
  apiKey: string | undefined
  /** The provider's public address when undefined. */
  baseUrl: string | undefined
}

/** One provider, whole: registered by one line in `../index.ts`. */
export interface ProviderAdapter {
  provider: Provider
  /** Makes a live client; the SDK is imported on first use. */
  connect(settings: ProviderSettings & { apiKey: string }): ProviderClient
}

/** What speaking a text is expected to use. */
export function expectedSpeech({ args }: JsonObject): Usage[] {
  const text = textOf(isJsonObject(args) ? args.text : '')
  // Before the text is written, a placeholder stands for it.
  const isOpen = text === '' || /^\{[^{}]*\}$/.test(text)
  return [{ unit: 'character', quantity: isOpen ? EXPECTED_SPEECH_CHARACTERS : text.length }]
}

/**
 * The failure behind an HTTP status: who is asked again, and who was charged.
 * 408, 409, 429 and 5xx are known unbilled and may be asked again; any other 4xx would fail again.
 */
export function httpFailure(
  provider: string,
  status: number,
  options: { retryAfter?: string | null; refused?: boolean; cause?: unknown },
): StepFailure {
  const { cause } = options
  const retryAfterMs = retryAfterOf(options.retryAfter)
  if (options.refused) {
    return new StepFailure('refused', `${provider} refused the content of the request.`, {
      cause,
      code: 'content-refused',
    })
  }
  if (status === 429) {
    return new StepFailure('rate_limit', `${provider} is limiting the rate of requests.`, {
      cause,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    })
  }
  if (status === 408 || status === 409 || status >= 500) {
    return new StepFailure('server', `${provider} answered with a fault of its own (HTTP ${status}).`, {
      cause,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    })
  }
  const why = status === 401 || status === 403 ? 'does not accept its key here' : 'does not accept the request'
  return new StepFailure('invalid', `${provider} ${why} (HTTP ${status}).`, { cause, code: 'provider-rejected' })
}

/** Milliseconds of a Retry-After header in either of its forms; undefined where there is none. At most an hour. */
function retryAfterOf(header: string | null | undefined): number | undefined {
  if (header === null || header === undefined) return undefined
  const seconds = Number(header)
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(header) - Date.now()
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), 3_600_000)
}

/** A connection that broke: nothing was sent if it was refused, else nobody can say what the provider made of it. */
export function connectionFailure(provider: string, error: unknown): StepFailure {
  const codes = causes(error).map((cause) => (cause as { code?: string }).code ?? '')
  const unsent = codes.some((code) =>
    /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|UND_ERR_CONNECT_TIMEOUT)$/.test(code),
  )
  return new StepFailure('server', `${provider} could not be reached, or the connection broke.`, {
    billed: unsent ? 'no' : 'unknown',
    cause: error,
  })
}

function causes(error: unknown): unknown[] {
  const chain: unknown[] = []
  for (let at = error; at instanceof Error && chain.length < 8; at = at.cause) chain.push(at)
  return chain
}
