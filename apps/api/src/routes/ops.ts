// What operations look at: queue figures for autoscalers, and metrics.
import { QueueStats } from '@fabrique/schema'
import { collectDefaultMetrics, Gauge } from 'prom-client'
import { z } from 'zod'
import type { AppDeps } from '../deps.ts'
import { admin, type Route } from '../route.ts'

export function opsRoutes({
  authoring,
  queue,
  registry,
  templates,
}: Pick<AppDeps, 'authoring' | 'queue' | 'registry' | 'templates'>): Route[] {
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
  const daysLeft = new Gauge({
    name: 'fabrique_model_days_left',
    help: 'Days until a model that a listed workflow names ends, from 60 on; negative once it has ended',
    labelNames: ['workflow', 'model'],
    registers: [registry],
  })
  async function modelEnds(): Promise<{ workflow: string; model: string; days: number }[]> {
    const endsIn = await authoring.modelEnds()
    const listed = await templates.list({ drafts: false })
    return listed.flatMap(({ id, document }) =>
      endsIn(document).map(({ end: { model, daysLeft: days } }) => ({ workflow: id, model, days })),
    )
  }

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
        daysLeft.reset()
        // While the record is away, the other figures are wanted all the more.
        for (const { workflow, model, days } of await modelEnds().catch(() => []))
          daysLeft.set({ workflow, model }, days)
        return c.body(await registry.metrics(), 200, { 'content-type': registry.contentType })
      },
    }),
  ]
}
