// What operations look at: whether the process lives, can serve, and how much is queued.
import { z } from 'zod'

export const Health = z.object({ status: z.literal('ok') }).meta({ id: 'Health' })

const Service = z.enum(['ok', 'away'])
export const Readiness = z
  .object({
    status: z
      .enum(['ready', 'degraded', 'not ready', 'leaving'])
      .describe(
        'Not ready without PostgreSQL. Degraded without the others: runs are accepted, and wait. Leaving once the process was told to stop.',
      ),
    postgres: Service,
    redis: Service,
    artifacts: Service.describe('Away also where the store is full or read-only.'),
  })
  .meta({ id: 'Readiness' })
export type Readiness = z.infer<typeof Readiness>

export const LaneStats = z.object({
  backlog: z.int().describe('Runs that wait for a worker.'),
  active: z.int(),
  oldest_age_s: z.number().describe('How long the oldest of the backlog has waited, in seconds.'),
})
export type LaneStats = z.infer<typeof LaneStats>

export const QueueStats = z.record(z.string(), LaneStats).meta({ id: 'QueueStats', description: 'Figures by queue.' })
export type QueueStats = z.infer<typeof QueueStats>
