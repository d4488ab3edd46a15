// Webhooks as the API takes and shows them: endpoints, their deliveries, and the attempts at each.
// Hides nothing: where an endpoint may lead is decided by whoever can look up names.
import { z } from 'zod'
import { nearestKey } from './document.ts'
import { EVENT_KINDS, type EventKind, payloadOf } from './event.ts'
import { Instant } from './json.ts'

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
export const WebhookChange = z
  .strictObject({
    url: Url,
    event_filter: EventFilter,
    max_retries: MaxRetries,
    enabled: z.boolean().describe('True takes up a disabled webhook again; what it missed is not made up for.'),
  })
  .partial()
export type WebhookChange = z.infer<typeof WebhookChange>

/** The id of a delivery: that of its event, which receivers see as `webhook-id`. */
export const DeliveryId = z.string().regex(/^[0-9A-Za-z_-]{1,64}$/, 'must be the id of a delivery')

export const DELIVERY_STATUSES = ['pending', 'delivered', 'exhausted', 'disabled'] as const
export type DeliveryStatus = (typeof DELIVERY_STATUSES)[number]

/** An endpoint. Its secret is shown by the answers that make one, and nowhere else. */
export const WebhookResource = z
  .object({
    id: z.string(),
    url: z.string(),
    event_filter: z
      .array(z.enum(EVENT_KINDS))
      .describe('The kinds that it is told of. Empty: the three that end a run.'),
    max_retries: MaxRetries,
    enabled: z.boolean(),
    disabled_at: Instant.nullable(),
    disabled_reason: z.string().nullable(),
    failing_since: Instant.nullable().describe('Since when every attempt has failed; null after a success.'),
    created_at: Instant,
  })
  .meta({ id: 'Webhook', description: 'Where events of root runs are sent.' })
export type WebhookResource = z.infer<typeof WebhookResource>

export const CreatedWebhook = WebhookResource.extend({
  secret: z.string().describe('What signs the deliveries, as Standard Webhooks spells it; shown only now.'),
}).meta({ id: 'CreatedWebhook' })
export type CreatedWebhook = z.infer<typeof CreatedWebhook>

export const RotatedWebhook = CreatedWebhook.extend({
  former_secret_expires_at: Instant.describe('Until then deliveries are signed with both secrets.'),
}).meta({ id: 'RotatedWebhook' })
export type RotatedWebhook = z.infer<typeof RotatedWebhook>

export const WebhookDelivery = z
  .object({
    id: z.string().describe('That of its event, which receivers see as `webhook-id`.'),
    webhook_id: z.string(),
    kind: z.enum(EVENT_KINDS),
    run_id: z.string(),
    status: z.enum(DELIVERY_STATUSES),
    attempts: z.int(),
    next_attempt_at: Instant.nullable().describe('Null once nothing more will be tried.'),
    last_status: z.int().nullable(),
    last_error: z.string().nullable(),
    created_at: Instant,
    finished_at: Instant.nullable(),
    log: z
      .array(
        z.object({
          number: z.int(),
          at: Instant,
          status: z.int().nullable().describe('Null where there was no answer.'),
          error: z.string().nullable().describe('Null for a 2xx.'),
          duration_ms: z.int(),
        }),
      )
      .describe('The last attempts, newest first.'),
  })
  .meta({ id: 'WebhookDelivery', description: 'An event on its way to a webhook.' })
export type WebhookDelivery = z.infer<typeof WebhookDelivery>

/** A delivery that was asked for again. */
export const Redelivery = WebhookDelivery.pick({ id: true, webhook_id: true, status: true }).meta({ id: 'Redelivery' })
export type Redelivery = z.infer<typeof Redelivery>

/** What a webhook is sent of an event of this kind. A payload's own key gives way to the envelope's. */
export function webhookMessage(kind: EventKind): z.ZodObject {
  const data = {
    id: z.string().describe('The same in every attempt.'),
    seq: z.int(),
    run_id: z.string(),
    root_run_id: z.string(),
    node_key: z.string().exactOptional(),
    workflow: z.string(),
  }
  return z.object({
    type: z.literal(kind),
    timestamp: Instant,
    data: payloadOf(kind, data),
  })
}
