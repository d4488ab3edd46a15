/**
 * Checks services that the user named: they must answer, and Redis must not throw data away.
 * Hides the drivers' errors behind one line that never shows a password.
 */
import { askPostgres } from './postgres.ts'
import { askRedis } from './redis.ts'
import { reasonOf, serviceError } from './service-error.ts'

const TIMEOUT_MS = 5_000

/** Throws one line with the remedy unless a PostgreSQL answers at the address. */
export async function checkPostgres(databaseUrl: string): Promise<void> {
  const place = placeOf(databaseUrl, /^postgres(ql)?:$/, 'DATABASE_URL', 'postgres://user:password@host:5432/database')
  await askPostgres(databaseUrl, (client) => client.query('select 1')).catch((error) => {
    throw serviceError(
      `PostgreSQL at ${place} (DATABASE_URL) does not answer: ${firstLine(error)}. Start it or correct the address; without DATABASE_URL an embedded one is used.`,
    )
  })
}

/** Throws one line with the remedy unless a Redis answers at the address and has the policy `noeviction`. */
export async function checkRedis(redisUrl: string): Promise<void> {
  const place = placeOf(redisUrl, /^rediss?:$/, 'REDIS_URL', 'redis://:password@host:6379')
  // INFO, not CONFIG: managed services forbid CONFIG.
  const memory = await askRedis(redisUrl, { timeoutMs: TIMEOUT_MS }, (redis) => redis.info('memory')).catch((error) => {
    throw serviceError(
      `Redis at ${place} (REDIS_URL) does not answer: ${firstLine(error)}. Start it or correct the address; without REDIS_URL an embedded one is used.`,
    )
  })
  const policy = memory.match(/^maxmemory_policy:(\S+)/m)?.[1]
  if (policy !== undefined && policy !== 'noeviction') {
    throw serviceError(
      `Redis at ${place} (REDIS_URL) has maxmemory-policy ${policy} and would throw queued runs away. Set it with: redis-cli config set maxmemory-policy noeviction`,
    )
  }
}

function placeOf(address: string, protocols: RegExp, variable: string, example: string): string {
  if (URL.canParse(address)) {
    const { protocol, host } = new URL(address)
    if (protocols.test(protocol)) return host || 'the local socket'
  }
  throw serviceError(`${variable} is not an address such as ${example}.`)
}

function firstLine(error: unknown): string {
  return (reasonOf(error).split('\n')[0] ?? '').replace(/\.$/, '')
}
