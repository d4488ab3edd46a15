// Environment variables as a typed value, checked whole at start.
// Hides how a fault is worded: one readable line per variable, and never its value.
import { z } from 'zod'
import { ConfigurationError } from './lifecycle.ts'

const integer = (fallback: number, min: number, max: number) =>
  z.coerce.number().int().min(min).max(max).default(fallback)
const secret = z.string().min(1).optional()

/** Variables that every process understands. Empty ones count as absent. */
export const CommonEnv = {
  DATABASE_URL: z.string().min(1),
  FABRIQUE_HOME: z.string().min(1).default('.fabrique'),
  /** A folder, or its address; there is no other kind of store. */
  ARTIFACT_STORE: z
    .string()
    .regex(/^(file:\/\/\/|(?![A-Za-z0-9+.-]+:\/\/))./, 'must be file:///absolute/folder, or a path')
    .optional(),
  FABRIQUE_PROVIDERS: z.enum(['live', 'simulated', 'auto']).default('auto'),
  OPENAI_API_KEY: secret,
  OPENAI_BASE_URL: z.url().optional(),
  FAL_KEY: secret,
  FAL_BASE_URL: z.url().optional(),
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
}

/** Variables of processes that talk to Redis. */
export const RedisEnv = {
  REDIS_URL: z.string().min(1),
  REDIS_PREFIX: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,64}$/, 'must be letters, digits, - and _')
    .default('fabrique'),
}

export { integer as integerVariable }

/** The environment by a schema; throws one `ConfigurationError` that names every fault. */
export function parseEnv<Shape extends z.ZodRawShape>(
  shape: Shape,
  source: NodeJS.ProcessEnv,
): z.infer<z.ZodObject<Shape>> {
  const present = Object.fromEntries(Object.entries(source).filter(([, value]) => value !== ''))
  const parsed = z.object(shape).safeParse(present)
  if (parsed.success) return parsed.data
  const lines = parsed.error.issues.map(
    (issue) => `${String(issue.path[0])}: ${absent(issue, present) ? 'is required' : issue.message}`,
  )
  throw new ConfigurationError(lines.join('\n'))
}

function absent(issue: z.core.$ZodIssue, source: Record<string, unknown>): boolean {
  return source[String(issue.path[0])] === undefined
}

/** Provider settings as the steps package takes them. */
export function providerConfig(env: {
  FABRIQUE_PROVIDERS: 'live' | 'simulated' | 'auto'
  OPENAI_API_KEY?: string | undefined
  OPENAI_BASE_URL?: string | undefined
  FAL_KEY?: string | undefined
  FAL_BASE_URL?: string | undefined
}) {
  return {
    mode: env.FABRIQUE_PROVIDERS,
    settings: {
      openai: { apiKey: env.OPENAI_API_KEY, baseUrl: env.OPENAI_BASE_URL },
      fal: { apiKey: env.FAL_KEY, baseUrl: env.FAL_BASE_URL },
    },
  }
}
