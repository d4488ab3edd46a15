// What operations look at: queue figures for autoscalers, and metrics.
import { collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import type { AppDeps } from '../deps.ts'
import { defineRoute, type Route } from '../route.ts'

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
  const tag = 'operations'
  return [
    defineRoute({
      method: 'get',
      path: '/v1/queues/stats',
      access: 'admin',
      docs: {
        summary: 'Backlog, active and oldest age of each queue',
        tag,
        answers: { 200: 'The figures, zeros included.' },
      },
      handle: async ({ c }) => c.json(await queue.stats()),
    }),
    defineRoute({
      method: 'get',
      path: '/metrics',
      access: 'admin',
      docs: { summary: 'Metrics in the Prometheus text format', tag, answers: { 200: 'The metrics.' } },
      async handle({ c }) {
        for (const [name, stats] of Object.entries(await queue.stats())) {
          for (const [figure, gauge] of figures) gauge.set({ queue: name }, stats[figure])
        }
        return c.body(await registry.metrics(), 200, { 'content-type': registry.contentType })
      },
    }),
  ]
}
