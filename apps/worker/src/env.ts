// The worker's environment variables; units are in the names.
import { CommonEnv, integerVariable, KillpointEnv, RedisEnv, WebhookEnv } from '@fabrique/runtime'
import { z } from 'zod'

export const WorkerEnv = {
  ...CommonEnv,
  ...RedisEnv,
  ...KillpointEnv,
  ...WebhookEnv,
  /** Runs in flight over both lanes. */
  CONCURRENCY: integerVariable(50, 1, 1000),
  /** Of these, kept free for the interactive lane; default a fifth, at least one. */
  INTERACTIVE_RESERVED: z.coerce.number().int().min(0).max(1000).optional(),
  /** Runs in flight of one organization in one lane; default nine tenths of the lane's permits. */
  ORGANIZATION_RUNS_MAX: z.coerce.number().int().min(1).max(1000).optional(),
  /** How long a silent worker keeps its runs. Shorter recovers faster, longer forgives longer pauses. */
  FABRIQUE_LEASE_MS: integerVariable(15_000, 500, 600_000),
  FABRIQUE_RECONCILE_MS: integerVariable(2_000, 50, 60_000),
  /** How long runs in flight may go on after SIGTERM before they are handed back. */
  FABRIQUE_GRACE_MS: integerVariable(10_000, 0, 600_000),
}
