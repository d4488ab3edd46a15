// The environment variables of local runs; units are in the names.
import { fileURLToPath } from 'node:url'
import { CommonEnv } from '@fabrique/runtime'
import { z } from 'zod'

const CHECKOUT_HOME = fileURLToPath(new URL('../../../.fabrique', import.meta.url))

export const CliEnv = {
  ...CommonEnv,
  /** Absent: the embedded PostgreSQL of the data folder. */
  DATABASE_URL: z.string().min(1).optional(),
  /** The checkout's, wherever the command is run. */
  FABRIQUE_HOME: z.string().min(1).default(CHECKOUT_HOME),
  /** Quieter than services: what a person must know is said in words. */
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('error'),
}
