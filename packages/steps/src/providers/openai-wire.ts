// What all of OpenAI's operations share: headers, files, usages, and answers that cannot be read.
import { type CallFacts, type ProviderRequest, StepFailure } from '@fabrique/engine'
import {
  isJsonObject,
  type JsonObject,
  objectOf,
  type JsonValue,
  textOf,
  type Unit,
  type Usage,
} from '@fabrique/schema'

/** How long a call may take whose step has no limit of its own. */
const TIMEOUT_MS = 600_000
/** A signal of the step ends the call before; the SDK counts in 32 bits. */
const TIMEOUT_MS_MAX = 2_147_000_000
const USAGE_CHARACTERS_MAX = 4_096

/** The SDK's own idempotencyKey option sends no header; the header itself is honoured. */
export function options({ signal, callId, timeLimitMs = TIMEOUT_MS }: ProviderRequest, part = '') {
  return {
    signal,
    timeout: Math.min(timeLimitMs, TIMEOUT_MS_MAX),
    headers: { 'Idempotency-Key': `${callId}${part}` },
  }
}

/** The texts of a request, which an error may quote. */
export function askedTexts({ request }: Pick<ProviderRequest, 'request'>): string[] {
  const args = objectOf(request.args)
  return [request.prompt, request.system, request.content, args.text, args.prompt].map(textOf)
}

/** A usage, where there was any. */
export function amount(unit: Unit, quantity: unknown, facts?: Usage['facts']): Usage[] {
  if (typeof quantity !== 'number' || !(quantity > 0)) return []
  return [{ unit, quantity, ...(facts === undefined ? {} : { facts }) }]
}

/** The provider's usage as it came, where it is of a size that can be kept. */
export function reportedUsage(usage: unknown): Pick<CallFacts, 'reported'> {
  return isJsonObject(usage) && JSON.stringify(usage).length <= USAGE_CHARACTERS_MAX ? { reported: usage } : {}
}

/** The error that a success holds: an object, or only its message. */
export function errorInside({ error }: JsonObject): JsonObject | undefined {
  if (typeof error === 'string' && error !== '') return { message: error }
  return isJsonObject(error) ? error : undefined
}

/** An answer that says nothing that we understand: it may be charged all the same. */
export function unreadable(facts?: CallFacts, cause?: unknown): StepFailure {
  return new StepFailure('bad_output', 'OpenAI answered something that cannot be read.', {
    billed: 'unknown',
    code: 'unreadable',
    cause,
    ...(facts === undefined ? {} : { facts }),
  })
}

/** Characters of prose per token, where nobody has counted. */
const CHARACTERS_PER_TOKEN = 4.4

export function textTokens(text: JsonValue | undefined): number {
  return Math.ceil(textOf(text).length / CHARACTERS_PER_TOKEN)
}
