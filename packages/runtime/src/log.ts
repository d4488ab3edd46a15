// Logs: one JSON line per happening on stderr, ids only. Secrets are redacted by name wherever they turn up.
import { type Logger, pino } from 'pino'

const SECRETS = ['authorization', 'apiKey', 'api_key', 'key', 'secret', 'password', 'credentials', 'token']

/**
 * A process's logger. A level that does not exist counts as `info`: it is made before the environment is checked, which
 * reports the fault. Errors are reduced to name, message, code and stack: causes and request objects may hold payloads.
 */
export function createLog(service: string, level = 'info'): Logger {
  return pino(
    {
      level: level === 'silent' || Object.hasOwn(pino.levels.values, level) ? level : 'info',
      base: { service },
      redact: { paths: SECRETS.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: '[redacted]' },
      serializers: {
        err: (error: unknown) => {
          if (!(error instanceof Error)) return { message: String(error) }
          const { name, message, stack } = error
          return { name, message: message.slice(0, 2000), code: (error as { code?: string }).code, stack }
        },
      },
    },
    pino.destination({ dest: 2, sync: true }),
  )
}
