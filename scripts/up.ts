/**
 * `npm run up`: services, API and workers until Ctrl-C or SIGTERM; leaves the data.
 * Hides nothing: it reads the settings, starts the parts in order and stops them in the reverse order.
 */
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { openServices } from '@fabrique/services'
import { isFreePort } from './ports.ts'
import { checkout, createSupervisor, stopRequested } from './supervisor.ts'
import { buildWebApp } from './web-build.ts'

const EX_CONFIG = 78

function wholeNumber(name: string, fallback: number, least: number, most: number): number {
  const text = process.env[name] || String(fallback)
  const value = Number(text)
  if (Number.isInteger(value) && value >= least && value <= most) return value
  console.error(`${name} must be a whole number from ${least} to ${most}, and is "${text}".`)
  process.exit(EX_CONFIG)
}

async function up(): Promise<void> {
  const port = wholeNumber('PORT', 3000, 1, 65_535)
  const workers = wholeNumber('WORKERS', 1, 1, 64)
  const host = process.env.HOST || '127.0.0.1'
  const home = resolve(process.env.FABRIQUE_HOME || `${checkout}/.fabrique`)
  if (!(await isFreePort(port, host))) {
    console.error(
      `Port ${port} of ${host} is taken. Stop what listens there, or choose another: PORT=${port + 1} npm run up`,
    )
    process.exitCode = 1
    return
  }

  let isStopping = false
  const stop = stopRequested(() => {
    isStopping = true
    console.log('Stopping …')
  })
  const web = buildWebApp().catch((error: unknown) => {
    console.error(`The operator app could not be built, so there is none:\n${String(error)}`)
    return undefined
  })
  const services = await openServices({
    home,
    databaseUrl: process.env.DATABASE_URL,
    redisUrl: process.env.REDIS_URL,
    keepAlive: true,
    onProgress: (line) => console.log(line),
  })
  const webFolder = await web
  const supervisor = createSupervisor({
    env: {
      ...process.env,
      ...(webFolder === undefined ? {} : { FABRIQUE_WEB_APP: webFolder }),
      FABRIQUE_HOME: home,
      DATABASE_URL: services.databaseUrl,
      REDIS_URL: services.redisUrl,
      HOST: host,
      PORT: String(port),
    },
    onLine: (_name, line) => console.log(line),
  })
  try {
    // The API goes first: it prepares the database that the workers need.
    supervisor.start('api', 'apps/api/src/main.ts', { restart: true })
    const base = `http://${host.includes(':') ? `[${host}]` : host.replace('0.0.0.0', '127.0.0.1')}:${port}`
    await Promise.race([supervisor.ready(`${base}/readyz`), stop])
    if (isStopping) return
    for (let n = 1; n <= workers; n++) supervisor.start(`worker ${n}`, 'apps/worker/src/main.ts', { restart: true })
    const link = webFolder === undefined ? '' : await signInLink(base, home)
    console.log(`
Fabrique is up (Ctrl-C stops it and leaves the data):
${link}  API        ${base}/v1
  API docs   ${base}/docs
  queues     ${base}/ops/queues
  admin key  ${process.env.FABRIQUE_ADMIN_KEY ? 'as in FABRIQUE_ADMIN_KEY at the first start' : `${home}/admin-key`}
  data       ${home}
`)
    await Promise.race([stop, supervisor.failed])
  } finally {
    await supervisor.stop()
    await services.release()
  }
}

/** The line that leads into the app, signed in where the first admin's key is at hand. */
async function signInLink(base: string, home: string): Promise<string> {
  const key = process.env.FABRIQUE_ADMIN_KEY ?? (await readFile(join(home, 'admin-key'), 'utf8').catch(() => '')).trim()
  const answer = await fetch(`${base}/session/links`, { method: 'POST', headers: { authorization: `Bearer ${key}` } })
  if (answer.status !== 201) return `  app        ${base}/app/ (sign in with an API key)\n`
  const { url } = (await answer.json()) as { url: string }
  return `  app        ${url} (signs you in, once)\n`
}

try {
  await up()
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
// The launcher's channel and stray timers must not keep us: everything was stopped above.
process.exit()
