// One attempt at one delivery: signed after Standard Webhooks, sent to public addresses only, bounded in every direction.
// Hides HTTP: the outcome is a status or a sentence, and the receiver's answer is never kept.
import { createGuardedAgent, RefusedAddressError } from '@fabrique/safe-fetch'
import { Webhook } from 'standardwebhooks'
import { request } from 'undici'

const TIMEOUT_MS = 10_000
/** An answer is read this far, so that a short one leaves its connection in use; the rest is cut off. */
const ANSWER_BYTES_MAX = 4_096
const ANSWER_TIMEOUT_MS = 1_000
const RETRY_AFTER_MAX_MS = 86_400_000

/** What is sent. Everything but the time is the same at every attempt. */
export interface Message {
  id: string
  url: string
  body: string
  /** One or more; the message is signed by each, so that receivers may change from one to the next. */
  secrets: readonly string[]
  sentAt: Date
}

export interface Attempt {
  /** Null where there was no answer; `error` then says why. */
  status: number | null
  /** Why it counts as failed, in words for the webhook's owner; null for a 2xx. */
  error: string | null
  durationMs: number
  /** How long the receiver asked to be left alone, at most a day; 0 where it did not. */
  retryAfterMs: number
}

export type Sender = ReturnType<typeof createSender>

/** A sender with a pool of connections. `timeoutMs` (default 10 s) bounds the wait for an answer's head. */
export function createSender(options: { allowPrivate: boolean; timeoutMs?: number }) {
  const timeoutMs = options.timeoutMs ?? TIMEOUT_MS
  const agent = options.allowPrivate ? createGuardedAgent(() => true) : createGuardedAgent()
  return {
    /** Never rejects: what went wrong is the attempt's outcome. */
    async send(message: Message): Promise<Attempt> {
      const startedAtMs = performance.now()
      const elapsedMs = () => Math.round(performance.now() - startedAtMs)
      try {
        const { statusCode, headers, body } = await request(message.url, {
          method: 'POST',
          headers: headersOf(message),
          body: message.body,
          dispatcher: agent,
          signal: AbortSignal.timeout(timeoutMs),
        })
        body.dump({ limit: ANSWER_BYTES_MAX, signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) }).catch(() => {}) // The status has said all; a body that does not end is dropped.
        return {
          status: statusCode,
          error: faultOf(statusCode),
          durationMs: elapsedMs(),
          retryAfterMs: retryAfterMs(headers['retry-after']),
        }
      } catch (error) {
        return { status: null, error: reasonOf(error, timeoutMs), durationMs: elapsedMs(), retryAfterMs: 0 }
      }
    },
    close: () => agent.destroy(),
  }
}

function headersOf({ id, body, secrets, sentAt }: Message): Record<string, string> {
  return {
    'content-type': 'application/json',
    'user-agent': 'Fabrique',
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(sentAt.getTime() / 1000)),
    'webhook-signature': secrets.map((secret) => new Webhook(secret).sign(id, sentAt, body)).join(' '),
  }
}

function faultOf(status: number): string | null {
  if (status >= 200 && status < 300) return null
  return status >= 300 && status < 400 ? `HTTP ${status}: redirects are not followed` : `HTTP ${status}`
}

/** `Retry-After` in seconds or as a date; anything else counts as absent. */
function retryAfterMs(header: string | string[] | undefined): number {
  if (typeof header !== 'string') return 0
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now()
  return Number.isNaN(ms) ? 0 : Math.min(Math.max(ms, 0), RETRY_AFTER_MAX_MS)
}

/** An error of the connection in our own words: a library's may name addresses that its caller should not learn. */
function reasonOf(error: unknown, timeoutMs: number): string {
  if (error instanceof RefusedAddressError) return 'the address is not public'
  const { name, code = '' } = error as { name?: string; code?: string }
  if (name === 'TimeoutError' || /TIMEOUT|ETIMEDOUT/.test(code)) return `no answer within ${timeoutMs / 1000} s`
  if (code === 'ECONNREFUSED') return 'the connection was refused'
  if (/^(ENOTFOUND|EAI_)/.test(code)) return 'the name cannot be resolved'
  if (/^(ECONNRESET|EPIPE|UND_ERR_SOCKET)$/.test(code)) return 'the connection was closed before an answer'
  if (/CERT|TLS|SSL|UNABLE_TO_/.test(code)) return 'the TLS certificate or handshake was not accepted'
  return 'the request could not be made'
}
