// Why a step did not succeed, in the classes that decide whether the engine tries again.
// Hides the rule "retry what is known unbilled or transient, never what would fail again".

import { onOneLine, type ProviderError } from '@fabrique/schema'
import type { CallFacts } from './ports.ts'

/** `undelivered`: made and paid for, and the provider does not hand it over. It is never made again for that. */
export const FAILURE_CLASSES = [
  'rate_limit',
  'timeout',
  'server',
  'bad_output',
  'refused',
  'invalid',
  'gate',
  'budget',
  'sub_workflow',
  'unknown_outcome',
  'undelivered',
  'internal',
] as const
export type FailureClass = (typeof FAILURE_CLASSES)[number]

/** Tried again by default; a step's `retry.on` chooses among these and `bad_output`. */
export const TRANSIENT: readonly FailureClass[] = ['rate_limit', 'timeout', 'server']

const MESSAGE_LENGTH_MAX = 2_000
const MARK = Symbol.for('fabrique.step-failure')

/**
 * A step's failure. `message` may be shown to operators: no prompt, no path, no secret.
 * `billed` says whether the provider may charge for the attempt: `unknown` is booked as spent.
 */
export class StepFailure extends Error {
  readonly [MARK] = true
  readonly failureClass: FailureClass
  readonly billed: 'no' | 'yes' | 'unknown'
  readonly retryAfterMs: number | undefined
  readonly code: string
  /** What the failed call used all the same; absent where the provider does not say. */
  readonly facts: CallFacts | undefined
  /** The provider's own words: for admins and the log. */
  readonly provider: ProviderError | undefined
  /** The provider has said its last word on a request that it had accepted: asking for that request again is no use. */
  readonly isFinal: boolean

  constructor(
    failureClass: FailureClass,
    message: string,
    options: {
      billed?: 'no' | 'yes' | 'unknown'
      retryAfterMs?: number
      code?: string
      cause?: unknown
      facts?: CallFacts
      provider?: ProviderError
      isFinal?: boolean
    } = {},
  ) {
    // It may quote a model or a provider, and goes into records, events, webhooks and terminals.
    super(onOneLine(message, MESSAGE_LENGTH_MAX), options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'StepFailure'
    this.failureClass = failureClass
    this.billed = options.billed ?? 'no'
    this.retryAfterMs = options.retryAfterMs
    this.code = options.code ?? failureClass.replaceAll('_', '-')
    this.facts = options.facts
    this.provider = options.provider
    this.isFinal = options.isFinal ?? false
  }

  static is(error: unknown): error is StepFailure {
    return typeof error === 'object' && error !== null && MARK in error
  }
}

/**
 * Whether an aborted signal ends a call for good, by a cancel or because its step is out of time: what is under way at the
 * provider is given up there. After any other reason the run's next worker asks for it.
 */
export function isForGood({ reason }: AbortSignal): boolean {
  return reason === 'cancel' || reason === 'deadline'
}

/**
 * Milliseconds to wait before attempt `attempt + 1`: doubling from `backoffMs`, at most a minute, never below
 * what the provider asked for. With the default of 1,000 ms: 1 s, 2 s, 4 s, 8 s, 16 s.
 */
export function backoffMs(attempt: number, base: number, retryAfterMs = 0): number {
  return Math.max(retryAfterMs, Math.min(base * 2 ** (attempt - 1), 60_000))
}
