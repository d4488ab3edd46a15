// Webhooks as the API takes and shows them: endpoints, their deliveries, and the attempts at each.
// Hides nothing: where an endpoint may lead is decided by whoever can look up names.
import { z } from 'zod'
import { nearestKey } from './document.ts'
import { EVENT_KINDS } from './run.ts'

/** The most endpoints that an organization may have. */
export const WEBHOOKS_MAX = 50
const RETRIES_DEFAULT = 7

const EventFilter = z
  .array(
    z.enum(EVENT_KINDS, {
      error: ({ input }) => {
        if (typeof input !== 'string') return 'must be an event kind'
        const near = nearestKey(input, EVENT_KINDS)
        const remedy = near === undefined ? `the kinds are ${EVENT_KINDS.join(', ')}` : `did you mean "${near}"?`
        return `"${input.slice(0, 100)}" is not an event kind; ${remedy}`
      },
    }),
  )
  .max(EVENT_KINDS.length)
  .transform((kinds) => [...new Set(kinds)])
  .describe('The kinds to be told of. Empty: the three that end a run.')
const MaxRetries = z.int().min(0).max(30).describe('Attempts after the first, until the delivery is given up.')
const Url = z.string().min(1).max(2048)

/** The body of `POST /v1/webhooks`. */
export const NewWebhook = z.strictObject({
  url: Url,
  event_filter: EventFilter.default([]),
  max_retries: MaxRetries.default(RETRIES_DEFAULT),
})

/** The body of `PATCH /v1/webhooks/{id}`. */
export const WebhookChange = z.strictObject({
  url: Url.optional(),
  event_filter: EventFilter.optional(),
  max_retries: MaxRetries.optional(),
  enabled: z
    .boolean()
    .optional()
    .describe('True takes up a disabled webhook again; what it missed is not made up for.'),
})
export type WebhookChange = z.infer<typeof WebhookChange>

/** The id of a delivery: that of its event, which receivers see as `webhook-id`. */
export const DeliveryId = z.string().regex(/^[0-9A-Za-z_-]{1,64}$/, 'must be the id of a delivery')

export const DELIVERY_STATUSES = ['pending', 'delivered', 'exhausted', 'disabled'] as const
export type DeliveryStatus = (typeof DELIVERY_STATUSES)[number]

/** An endpoint. Its secret is shown by the answers that make one, and nowhere else. */
export interface WebhookResource {
  id: string
  url: string
  event_filter: string[]
  max_retries: number
  enabled: boolean
  disabled_at: string | null
  disabled_reason: string | null
  /** Since when every attempt has failed; null after a success. */
  failing_since: string | null
  created_at: string
}

export interface WebhookDelivery {
  id: string
  webhook_id: string
  kind: string
  run_id: string
  status: DeliveryStatus
  attempts: number
  /** Null once nothing more will be tried. */
  next_attempt_at: string | null
  last_status: number | null
  last_error: string | null
  created_at: string
  finished_at: string | null
  /** The last attempts, newest first. `error` is null for a 2xx; `status` where there was no answer. */
  log: { number: number; at: string; status: number | null; error: string | null; duration_ms: number }[]
}
