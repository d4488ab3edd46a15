// Environment variables as a typed value, checked whole at start.
// Hides how a fault is worded: one readable line per variable, and never its value.
import { z } from 'zod'
import { ConfigurationError } from './lifecycle.ts'

const integer = (fallback: number, min: number, max: number) =>
  z.coerce.number().int().min(min).max(max).default(fallback)
const secret = z.string().min(1).optional()

/** A bucket by S3's rules for names, and a prefix of plain names with slashes between them. */
const S3_ADDRESS = /^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/(?!\.{1,2}(\/|$))[A-Za-z0-9._-]+)*\/?$/
const OTHER_STORE = /^(file:\/\/\/|(?![A-Za-z0-9+.-]+:\/\/))./

const SECONDS_OF = { s: 1, min: 60, h: 3_600 } as const
const MIB = 1_048_576
/** `openai=20,300/min`: a provider or one of its models, then calls at once, starts per time, or both. */
const LIMIT =
  /^(?<scope>[a-z0-9][a-z0-9._-]*(\/[A-Za-z0-9._-]+)*)=((?<atOnce>[1-9]\d{0,5})(,(?<starts>[1-9]\d{0,5})\/(?<unit>s|min|h))?|(?<starts>[1-9]\d{0,5})\/(?<unit>s|min|h))$/
const entriesOf = (limits: string) => limits.trim().split(/\s+/)
const scopeOf = (entry: string) => entry.split('=')[0]

/** Variables that every process understands. Empty ones count as absent. */
export const CommonEnv = {
  DATABASE_URL: z.string().min(1),
  FABRIQUE_HOME: z.string().min(1).default('.fabrique'),
  /** A folder, its address, or a bucket; see `artifactStoreConfig`. */
  ARTIFACT_STORE: z
    .string()
    .refine((address) => S3_ADDRESS.test(address) || OTHER_STORE.test(address), {
      message: 'must be file:///absolute/folder, s3://bucket/prefix, or a path',
    })
    .optional(),
  ARTIFACT_RESERVE_MIB: integer(256, 1, 1_048_576),
  AWS_ACCESS_KEY_ID: secret,
  AWS_SECRET_ACCESS_KEY: secret,
  AWS_SESSION_TOKEN: secret,
  AWS_REGION: z
    .string()
    .regex(/^[a-z0-9-]{1,64}$/, 'must be the name of a region, like eu-central-1')
    .default('us-east-1'),
  S3_ENDPOINT: z
    .string()
    .refine(isPlainHttpUrl, { message: 'must be like https://host or http://host:9000' })
    .optional(),
  FABRIQUE_PROVIDERS: z.enum(['live', 'simulated', 'auto']).default('auto'),
  OPENAI_API_KEY: secret,
  OPENAI_BASE_URL: z.url().optional(),
  FAL_KEY: secret,
  FAL_BASE_URL: z.url().optional(),
  /** Live calls over all workers; high enough for two workers of the default size. */
  PROVIDER_LIMITS: z
    .string()
    .refine((limits) => entriesOf(limits).every((entry) => LIMIT.test(entry)), {
      message: 'must be entries like openai=20,300/min or openai/gpt-image-2=5, with spaces between them',
      abort: true,
    })
    .refine((limits) => new Set(entriesOf(limits).map(scopeOf)).size === entriesOf(limits).length, {
      message: 'must name a provider or model once',
    })
    .default('openai=100 fal=100'),
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
}

/** Some of the common variables, parsed. */
type Environment<Name extends keyof typeof CommonEnv> = Pick<z.infer<z.ZodObject<typeof CommonEnv>>, Name>

/** Variables of processes that talk to Redis. */
export const RedisEnv = {
  REDIS_URL: z.string().min(1),
  REDIS_PREFIX: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,64}$/, 'must be letters, digits, - and _')
    .default('fabrique'),
}

/** Variables of processes that register or call webhooks. */
export const WebhookEnv = {
  /** For development: `1` lets webhooks lead to private addresses, this machine's own among them. */
  FABRIQUE_ALLOW_PRIVATE_WEBHOOKS: z.enum(['0', '1']).default('0'),
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
  const lines = parsed.error.issues.map(({ path: [name], message }) => {
    return `${String(name)}: ${present[String(name)] === undefined ? 'is required' : message}`
  })
  throw new ConfigurationError(lines.join('\n'))
}

function isPlainHttpUrl(address: string): boolean {
  const url = URL.parse(address)
  if (url === null || !/^https?:$/.test(url.protocol)) return false
  return url.username + url.password + url.search + url.hash === ''
}

/**
 * The artifact store as the artifacts package takes it: what `ARTIFACT_STORE` names, else `folder`.
 * Throws a `ConfigurationError` that names the credentials that a bucket lacks.
 */
export function artifactStoreConfig(
  env: Environment<
    | 'ARTIFACT_STORE'
    | 'ARTIFACT_RESERVE_MIB'
    | 'AWS_ACCESS_KEY_ID'
    | 'AWS_SECRET_ACCESS_KEY'
    | 'AWS_SESSION_TOKEN'
    | 'AWS_REGION'
    | 'S3_ENDPOINT'
  >,
  folder: string,
) {
  const { ARTIFACT_STORE: address = folder, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY } = env
  if (!address.startsWith('s3://')) return { address, reserveBytes: env.ARTIFACT_RESERVE_MIB * MIB }
  if (AWS_ACCESS_KEY_ID === undefined || AWS_SECRET_ACCESS_KEY === undefined) {
    const missing = Object.entries({ AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY }).filter(
      ([, value]) => value === undefined,
    )
    throw new ConfigurationError(missing.map(([name]) => `${name}: is required by an s3:// ARTIFACT_STORE`).join('\n'))
  }
  return {
    address,
    s3: {
      accessKeyId: AWS_ACCESS_KEY_ID,
      secretAccessKey: AWS_SECRET_ACCESS_KEY,
      sessionToken: env.AWS_SESSION_TOKEN,
      region: env.AWS_REGION,
      endpoint: env.S3_ENDPOINT,
    },
  }
}

/** Provider settings as the steps package takes them. */
export function providerConfig(
  env: Environment<'FABRIQUE_PROVIDERS' | 'OPENAI_API_KEY' | 'OPENAI_BASE_URL' | 'FAL_KEY' | 'FAL_BASE_URL'>,
) {
  return {
    mode: env.FABRIQUE_PROVIDERS,
    settings: {
      openai: { apiKey: env.OPENAI_API_KEY, baseUrl: env.OPENAI_BASE_URL },
      fal: { apiKey: env.FAL_KEY, baseUrl: env.FAL_BASE_URL },
    },
  }
}

/** Provider limits as the queue package takes them. */
export function providerLimits(env: Environment<'PROVIDER_LIMITS'>) {
  return entriesOf(env.PROVIDER_LIMITS).map((entry) => {
    const { scope = '', atOnce, starts, unit } = LIMIT.exec(entry)?.groups ?? {}
    const perSeconds = SECONDS_OF[unit as keyof typeof SECONDS_OF]
    return {
      scope,
      ...(atOnce === undefined ? {} : { atOnce: Number(atOnce) }),
      ...(starts === undefined ? {} : { rate: { starts: Number(starts), perSeconds } }),
    }
  })
}
