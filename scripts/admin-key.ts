/**
 * `npm run admin-key`: one more admin key, printed and kept in the home folder; the others go on working until revoked.
 * Hides whether the database runs already, as with `npm run up`, or has to be started for this.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join, resolve } from 'node:path'
import { isServiceError, openServices } from '@fabrique/services'
import { checkout } from './supervisor.ts'

async function makeKey(): Promise<number> {
  const home = resolve(process.env.FABRIQUE_HOME || `${checkout}/.fabrique`)
  const services = await openServices({
    home,
    databaseUrl: process.env.DATABASE_URL,
    need: ['postgres'],
    onProgress: (line) => console.error(line),
  })
  try {
    const child = spawn(process.execPath, [join(checkout, 'apps/api/src/new-admin-key.ts')], {
      stdio: 'inherit',
      env: { ...process.env, FABRIQUE_HOME: home, DATABASE_URL: services.databaseUrl },
    })
    const [code] = (await once(child, 'exit')) as [number | null]
    return code ?? 1
  } finally {
    await services.release()
  }
}

try {
  process.exitCode = await makeKey()
} catch (error) {
  console.error(isServiceError(error) ? error.message : error)
  process.exitCode = 1
}
process.exit()
