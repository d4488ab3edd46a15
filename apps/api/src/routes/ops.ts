// What operations look at: queue figures for autoscalers, and metrics.
import { QueueStats } from '@fabrique/schema'
import { collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import { z } from 'zod'
import type { AppDeps } from '../deps.ts'
import { admin, type Route } from '../route.ts'

export function opsRoutes({ queue }: Pick<AppDeps, 'queue'>): Route[] {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const figures = (['backlog', 'active', 'oldest_age_s'] as const).map(
    (figure) =>
      [
        figure,
        new Gauge({
          name: `fabrique_queue_${figure}`,
          help: `${figure} of a queue`,
          labelNames: ['queue'],
          registers: [registry],
        }),
      ] as const,
  )
  return [
    admin.get('getQueueStats', '/v1/queues/stats', {
      summary: 'Backlog, active and oldest age of each queue',
      answers: { 200: QueueStats },
      handle: async ({ c }) => c.json(await queue.stats()),
    }),
    admin.get('getMetrics', '/metrics', {
      summary: 'Metrics in the Prometheus text format',
      answers: { 200: { 'text/plain': z.string() } },
      async handle({ c }) {
        for (const [name, stats] of Object.entries(await queue.stats())) {
          for (const [figure, gauge] of figures) gauge.set({ queue: name }, stats[figure])
        }
        return c.body(await registry.metrics(), 200, { 'content-type': registry.contentType })
      },
    }),
  ]
}
