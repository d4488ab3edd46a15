// Webhooks of the key's own organization: where events go, what became of each delivery, and sending one again.
import {
  CreatedWebhook,
  DELIVERY_STATUSES,
  DeliveryId,
  FabriqueError,
  list,
  NewWebhook,
  page,
  type ParsedDocument,
  Redelivery,
  RotatedWebhook,
  WebhookChange,
  WebhookDelivery,
  WebhookResource,
  WEBHOOKS_MAX,
} from '@fabrique/schema'
import { z } from 'zod'
import type { AppDeps } from '../deps.ts'
import { locatedIn, parseBody, readDocument } from '../body.ts'
import { found, notFound, orNotFound, removed } from '../found.ts'
import { pageOf, paging } from '../paging.ts'
import { operator, type Route } from '../route.ts'

export function webhookRoutes({
  webhooks,
  webhookUrlProblem,
}: Pick<AppDeps, 'webhooks' | 'webhookUrlProblem'>): Route[] {
  /** Throws unless deliveries to this URL can be made from here. */
  async function checkUrl(url: string, document: ParsedDocument): Promise<void> {
    const detail = await webhookUrlProblem(url)
    if (detail === null) return
    const problems = [{ pointer: '/url', detail, code: 'webhook-url' }]
    locatedIn(document)(new FabriqueError('validation-failed', `The webhook's URL ${detail}.`, { problems }))
  }

  return [
    operator.post('createWebhook', '/v1/webhooks', {
      summary: 'Register a webhook; its secret is shown once',
      body: NewWebhook,
      answers: { 201: CreatedWebhook },
      problems: ['quota-exceeded'],
      headers: ['Location'],
      async handle({ c, principal }) {
        const document = await readDocument(c)
        const { url, event_filter: eventFilter, max_retries: maxRetries } = parseBody(NewWebhook, document)
        await checkUrl(url, document)
        const made = await webhooks.create(principal.organizationId, { url, eventFilter, maxRetries })
        if (made !== null) return c.json(made, 201, { location: `/v1/webhooks/${made.id}` })
        throw new FabriqueError(
          'quota-exceeded',
          `An organization has at most ${WEBHOOKS_MAX} webhooks; delete one that is not needed.`,
          { retryAfterS: 60 },
        )
      },
    }),
    operator.get('listWebhooks', '/v1/webhooks', {
      summary: 'List webhooks, oldest first',
      answers: { 200: list(WebhookResource) },
      handle: async ({ c, principal }) => c.json({ data: await webhooks.list(principal.organizationId) }),
    }),
    operator.get('getWebhook', '/v1/webhooks/:id', {
      summary: 'A webhook',
      answers: { 200: WebhookResource },
      handle: found('webhook', webhooks.get),
    }),
    operator.patch('changeWebhook', '/v1/webhooks/:id', {
      summary: 'Change a webhook, or disable and enable it',
      body: WebhookChange,
      answers: { 200: WebhookResource },
      async handle({ c, principal, param }) {
        if ((await webhooks.get(principal.organizationId, param('id'))) === null) throw notFound('webhook')
        const document = await readDocument(c)
        const change = parseBody(WebhookChange, document)
        if (change.url !== undefined) await checkUrl(change.url, document)
        return c.json(orNotFound(await webhooks.change(principal.organizationId, param('id'), change), 'webhook'))
      },
    }),
    operator.delete('deleteWebhook', '/v1/webhooks/:id', {
      summary: 'Delete a webhook and its deliveries',
      answers: { 204: null },
      handle: removed('webhook', webhooks.remove),
    }),
    operator.post('rotateWebhookSecret', '/v1/webhooks/:id/rotate', {
      summary: 'Replace the secret; the former one is honoured for 24 hours',
      answers: { 200: RotatedWebhook },
      handle: found('webhook', webhooks.rotate),
    }),
    operator.get('listDeliveries', '/v1/webhooks/:id/deliveries', {
      query: z.strictObject({
        status: z.enum(DELIVERY_STATUSES).optional(),
        ...paging(DeliveryId),
      }),
      summary: 'Deliveries of a webhook, newest first, with their last attempts',
      answers: { 200: page(WebhookDelivery) },
      async handle({ c, principal, query: { status, limit, cursor }, param }) {
        const found = await webhooks.deliveries(principal.organizationId, param('id'), {
          limit: limit + 1,
          before: cursor ?? null,
          status,
        })
        if (found === null) throw notFound('webhook')
        return c.json(pageOf(found, limit))
      },
    }),
    operator.post('redeliver', '/v1/webhooks/:id/deliveries/:delivery_id/redeliver', {
      summary: 'Send a delivery again: the same id and bytes',
      answers: { 202: Redelivery },
      problems: ['webhook-disabled'],
      async handle({ c, principal, param }) {
        const [id, deliveryId] = [param('id'), param('delivery_id')]
        const outcome = await webhooks.redeliver(principal.organizationId, id, deliveryId)
        if (outcome === 'unknown') throw notFound('webhook delivery')
        if (outcome === 'disabled') {
          throw new FabriqueError(
            'webhook-disabled',
            'The webhook is disabled; enable it by a PATCH with {"enabled": true}, then ask again.',
          )
        }
        const due: Redelivery = { id: deliveryId, webhook_id: id, status: 'pending' }
        return c.json(due, 202)
      },
    }),
  ]
}
