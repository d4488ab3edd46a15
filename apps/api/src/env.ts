// The API's environment variables; units are in the names.
import { CommonEnv, integerVariable, KillpointEnv, RedisEnv, WebhookEnv } from '@fabrique/runtime'
import { z } from 'zod'

export const ApiEnv = {
  ...CommonEnv,
  ...RedisEnv,
  ...KillpointEnv,
  ...WebhookEnv,
  PORT: integerVariable(3000, 0, 65_535),
  HOST: z.string().min(1).default('127.0.0.1'),
  /** After SIGTERM: how long requests are still taken, and then how long those in hand may take. */
  FABRIQUE_NOTICE_MS: integerVariable(1_000, 0, 60_000),
  FABRIQUE_GRACE_MS: integerVariable(10_000, 0, 600_000),
  /** Event streams open at once in this process, and of these by one key. */
  SSE_STREAMS_MAX: integerVariable(5_000, 1, 100_000),
  SSE_STREAMS_PER_KEY_MAX: integerVariable(2_500, 1, 100_000),
  /** What one organization may ask for: submits at each API process, runs that have not ended, GiB of stored files. */
  QUOTA_SUBMITS_PER_MINUTE: integerVariable(120_000, 1, 100_000_000),
  QUOTA_OPEN_RUNS: integerVariable(500_000, 1, 100_000_000),
  QUOTA_STORED_GIB: integerVariable(1_000, 1, 1_000_000),
  /** Origins whose pages may use the API from browsers. */
  FABRIQUE_CORS_ORIGINS: z
    .string()
    .transform((text) => text.split(/[\s,]+/).filter(Boolean))
    .refine((origins) => origins.every((one) => one === '*' || (URL.canParse(one) && new URL(one).origin === one)), {
      message: 'must be origins such as https://app.example, or *',
    })
    .optional(),
  /** The folder of the operator app as it was built. */
  FABRIQUE_WEB_APP: z.string().min(1).optional(),
  /** The bootstrap admin's key, taken at the first start only. */
  FABRIQUE_ADMIN_KEY: z
    .string()
    .regex(/^fab_/, 'must start with fab_')
    .min(24, 'must have at least 24 characters')
    .optional(),
}
