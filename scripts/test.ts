/**
 * `npm test`: the whole suite, or what the arguments select, against services of its own that are thrown away after it.
 * DATABASE_URL and REDIS_URL name services to use instead.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { askPostgres, discardHome, isProcessAlive, isServiceError, openServices } from '@fabrique/services'
import { checkout, stopRequested } from './supervisor.ts'

const homes = join(checkout, '.fabrique')
const PREFIX = 'test-'
const HOMES_FILE = 'homes-of-tests'

/** Removes the homes of test runs that were killed. */
async function discardAbandoned(): Promise<void> {
  for (const name of readdirSync(homes).filter((entry) => entry.startsWith(PREFIX))) {
    if (!isProcessAlive(Number(name.slice(PREFIX.length)))) await discard(join(homes, name))
  }
}

/** Removes a test run's home, after those that its tests made for themselves and could not remove when interrupted. */
async function discard(home: string): Promise<void> {
  const listed = existsSync(join(home, HOMES_FILE)) ? readFileSync(join(home, HOMES_FILE), 'utf8').split('\n') : []
  for (const own of listed.filter(Boolean)) await discardHome(own)
  await discardHome(home)
}

async function test(): Promise<number> {
  const stop = stopRequested()
  mkdirSync(homes, { recursive: true })
  await discardAbandoned()
  const home = join(homes, PREFIX + process.pid)
  mkdirSync(home, { recursive: true })
  const services = await openServices({
    home,
    databaseUrl: process.env.DATABASE_URL,
    redisUrl: process.env.REDIS_URL,
    onProgress: (line) => console.log(line),
  })
  try {
    // Tests make and drop databases. Beyond that they have the rights that Fabrique has.
    const { username } = new URL(services.databaseUrl)
    await askPostgres(services.adminDatabaseUrl, async (client) => {
      await client.query(`alter role "${username}" createdb; grant pg_signal_backend to "${username}"`)
    })
    const vitest = spawn(
      process.execPath,
      [join(checkout, 'node_modules/vitest/vitest.mjs'), 'run', ...process.argv.slice(2)],
      {
        cwd: checkout,
        stdio: 'inherit',
        env: {
          ...process.env,
          TEST_DATABASE_URL: services.databaseUrl,
          TEST_REDIS_URL: services.redisUrl,
          TEST_HOMES_FILE: join(home, HOMES_FILE),
        },
      },
    )
    void stop.then(() => vitest.kill('SIGTERM'))
    return await new Promise<number>((resolve, reject) => {
      vitest.once('error', reject)
      vitest.once('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? 'SIGTERM']))
    })
  } finally {
    await services.release()
    await discard(home)
  }
}

try {
  process.exitCode = await test()
} catch (error) {
  console.error(isServiceError(error) ? error.message : error)
  process.exitCode = 1
}
process.exit()
