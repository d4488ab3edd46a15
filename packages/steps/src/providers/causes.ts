// Why a provider did not do what it was asked: told apart by who has to act, in words that may be shown.
// Hides how providers spell the same cause, and what of their words must not be passed on.
import { type CallFacts, type FailureClass, StepFailure } from '@fabrique/engine'
import type { ProviderError } from '@fabrique/schema'

/** What a provider said, as it came. */
export interface Told {
  /** As people call it: `OpenAI`. */
  provider: string
  /** The HTTP status; absent where the answer was a success that holds an error. */
  status?: number | undefined
  code?: unknown
  type?: unknown
  message?: unknown
  /** The parameter that it is about. */
  param?: unknown
  requestId?: unknown
  retryAfterMs?: number | undefined
}

const MESSAGE_LENGTH = 400
const WORD_LENGTH = 100
/** A quotation of the request that is this long is cut out of the provider's message. */
const QUOTED_LENGTH = 16

interface Cause {
  failureClass: FailureClass
  code: string
  /** Follows the provider's name. */
  says: string
  remedy?: string
  /** Whether the provider's own message is part of what everybody is told; a refusal may quote the prompt. */
  quotes?: false
  billed?: 'unknown'
}

const CAUSES = {
  key: {
    failureClass: 'invalid',
    code: 'provider-key',
    says: 'does not accept its key here',
    remedy: 'Whoever runs Fabrique has to set a valid key.',
  },
  account: {
    failureClass: 'invalid',
    code: 'provider-account',
    says: 'does not serve this account as it stands (billing, credit, verification, region or access to the model)',
    remedy: 'Whoever runs Fabrique has to settle it with the provider.',
  },
  refused: {
    failureClass: 'refused',
    code: 'content-refused',
    says: 'refused the content of the request',
    remedy: 'Change what is asked for.',
    quotes: false,
  },
  rate: { failureClass: 'rate_limit', code: 'rate-limit', says: 'is limiting the rate of requests' },
  tooLong: {
    failureClass: 'invalid',
    code: 'prompt-too-long',
    says: 'does not take a request of this length',
    remedy: 'Shorten the input, or choose a model with a longer context.',
  },
  noModel: {
    failureClass: 'invalid',
    code: 'model-unknown',
    says: 'does not know the model, or this account may not use it',
    remedy: 'Name another model in the template.',
  },
  request: { failureClass: 'invalid', code: 'provider-rejected', says: 'does not accept the request' },
  time: {
    failureClass: 'timeout',
    code: 'timeout',
    says: 'did not answer in time',
    billed: 'unknown',
  },
  server: { failureClass: 'server', code: 'server', says: 'answered with a fault of its own' },
} as const satisfies Record<string, Cause>
type CauseName = keyof typeof CAUSES

/** What the code or type of an error says by itself, whatever the status is. Compared without case, `-` as `_`. */
const BY_NAME: Record<string, CauseName> = {
  invalid_api_key: 'key',
  incorrect_api_key: 'key',
  authentication_error: 'key',
  unauthorized: 'key',
  insufficient_quota: 'account',
  insufficient_balance: 'account',
  billing_hard_limit_reached: 'account',
  billing_not_active: 'account',
  budget_exceeded: 'account',
  billing_limit_user_error: 'account',
  account_deactivated: 'account',
  unsupported_country_region_territory: 'account',
  organization_must_be_verified: 'account',
  permission_error: 'account',
  missing_scope: 'account',
  ip_not_authorized: 'account',
  content_filter: 'refused',
  content_policy_violation: 'refused',
  moderation_blocked: 'refused',
  policy_violation: 'refused',
  responsible_ai_policy_violation: 'refused',
  image_content_policy_violation: 'refused',
  sensitive_content: 'refused',
  cyber_policy: 'refused',
  safety: 'refused',
  rate_limit_exceeded: 'rate',
  rate_limit_error: 'rate',
  too_many_requests: 'rate',
  slow_down: 'rate',
  context_length_exceeded: 'tooLong',
  string_above_max_length: 'tooLong',
  model_not_found: 'noModel',
  model_deprecated: 'noModel',
  server_error: 'server',
  internal_server_error: 'server',
  internal_error: 'server',
  downstream_service_error: 'server',
  downstream_service_unavailable: 'server',
  generation_timeout: 'time',
  overloaded_error: 'server',
  engine_overloaded: 'server',
}

/** What the message says where neither code nor type does: the first that fits, compared in lower case. */
const BY_WORDS: [CauseName, readonly string[]][] = [
  [
    'account',
    [
      'exhausted balance',
      'insufficient balance',
      'balance is too low',
      'out of credit',
      'no credit',
      'credit balance',
      'insufficient credit',
      'plan and billing',
      'current quota',
      'billing',
      'budget has been',
      'monthly budget',
      'spending limit',
      'spend limit',
      'must be verified',
      'account is not active',
      'account has been',
      'country, region',
      'user is locked',
      'insufficient permissions',
      'missing scopes',
      'member of an organization',
      'ip is not',
    ],
  ],
  ['refused', ['content policy', 'content management policy', 'safety system', 'usage polic', 'nsfw', 'flagged']],
  ['tooLong', ['maximum context length', 'context window', 'too many tokens']],
  ['key', ['api key']],
]

/** How codes begin that are about what was asked, where no status says so. */
const OF_REQUEST = ['invalid_', 'unsupported_', 'image_', 'empty_', 'failed_to_download_']

/** The gateway gave up on an answer that may be on its way: nobody knows whether it is charged. */
const GATEWAY_TIMEOUTS = [504, 520, 522, 523, 524]

/** The status of an answer; inside a success, that which gateways name as the code. */
function statusOf({ status, code }: Told): number | undefined {
  return status ?? (/^[45]\d\d$/.test(wordOf(code)) ? Number(code) : undefined)
}

function causeName(told: Told): CauseName {
  const { code, type, message } = told
  const status = statusOf(told)
  const words = wordOf(message, MESSAGE_LENGTH).toLowerCase()
  // Larger than the limit itself: it would be refused for ever.
  if (words.includes('request too large')) return 'tooLong'
  // Who is overloaded and says until when asks to be waited for, as a limit does.
  if (status === 503 && told.retryAfterMs !== undefined) return 'rate'
  for (const name of [code, type]) {
    const known = BY_NAME[wordOf(name).toLowerCase().replaceAll('-', '_')]
    if (known !== undefined) return known
  }
  const isClient = status === undefined || (status >= 400 && status < 500)
  const [said] = (isClient ? BY_WORDS : []).find(([, phrases]) => phrases.some((one) => words.includes(one))) ?? []
  // A limit of "requests per minute of your plan" is a rate all the same.
  if (said !== undefined && !(status === 429 && words.includes('per min'))) return said
  if (status === 401) return 'key'
  if (status === 402) return 'account'
  if (status === 403) return 'account'
  if (status === 408) return 'time'
  if (status === 413) return 'tooLong'
  if (status === 429) return 'rate'
  // Inside a success only the code and the type tell whose fault it is.
  if (status === undefined)
    return OF_REQUEST.some((one) => [code, type].some((word) => wordOf(word).startsWith(one))) ? 'request' : 'server'
  if (status === 410) return 'noModel'
  if (status === 409) return 'server'
  if (GATEWAY_TIMEOUTS.includes(status)) return 'time'
  return status >= 500 ? 'server' : 'request'
}

/**
 * The failure behind what a provider said. `asked` are the texts of the request, which the provider may quote: they are
 * cut out, like keys and control characters. The provider's words go along for admins, bounded.
 */
export function causeOf(
  told: Told,
  asked: readonly string[],
  options: { cause?: unknown; isFinal?: boolean; billed?: 'no' | 'yes' | 'unknown'; facts?: CallFacts } = {},
): StepFailure {
  const cause: Cause = CAUSES[causeName(told)]
  const said = wordOf(told.message, MESSAGE_LENGTH)
  // A page that a gateway shows to browsers says nothing that the status does not.
  const message = /<(?:!doctype|html|head|body)\b/i.test(said) ? '' : cleaned(said, asked)
  const param = wordOf(told.param)
  const about = param === '' || message.includes(param) ? '' : ` (${param})`
  const words = cause.quotes === false || message === '' ? '' : `: ${message.replace(/(?<![.\s])[.\s]+$/, '')}`
  const status = told.status === undefined ? '' : ` (HTTP ${told.status})`
  const remedy = cause.remedy === undefined ? '' : ` ${cause.remedy}`
  const provider: ProviderError = Object.fromEntries(
    Object.entries({
      status: told.status,
      code: wordOf(told.code),
      type: wordOf(told.type),
      param,
      message,
      request_id: wordOf(told.requestId),
    }).filter(([, value]) => value !== undefined && value !== ''),
  )
  const billed = options.billed ?? cause.billed
  return new StepFailure(cause.failureClass, `${told.provider} ${cause.says}${status}${about}${words}.${remedy}`, {
    ...options,
    code: cause.code,
    provider,
    ...(billed === undefined ? {} : { billed }),
    ...(told.retryAfterMs === undefined ? {} : { retryAfterMs: told.retryAfterMs }),
  })
}

/** A provider's text on one line and bounded; '' for anything but a text or a number. */
function wordOf(value: unknown, length = WORD_LENGTH): string {
  if (typeof value !== 'string' && typeof value !== 'number') return ''
  // Cut before it is looked at: the rest is not.
  const text = String(value).slice(0, length)
  return text
    .replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, ' ')
    .toWellFormed()
    .trim()
}

/** The message without keys, and without what it quotes of the request. */
function cleaned(message: string, asked: readonly string[]): string {
  let left = message
    .replaceAll(/\b(?:sk|fab|key|Bearer)[-_ ][\w.:*-]{6,}/gi, '[key]')
    .replaceAll(/(key|token|secret|password)(["']? ?[=:] ?["']?)[\w.:*-]{6,}/gi, '$1$2[key]')
  for (const text of asked.filter((one) => one.trim().length > 3)) {
    left = left.replaceAll(text, '[…]')
    for (let at = 0; at + QUOTED_LENGTH <= left.length; at += 1) {
      let end = at + QUOTED_LENGTH
      if (!text.includes(left.slice(at, end))) continue
      while (end < left.length && text.includes(left.slice(at, end + 1))) end += 1
      left = `${left.slice(0, at)}[…]${left.slice(end)}`
    }
  }
  return left
}
