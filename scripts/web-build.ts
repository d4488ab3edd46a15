/**
 * Builds the operator app, once for each state of its sources.
 * Hides the cache: a folder named by a hash over everything that the build reads.
 */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { checkout } from './supervisor.ts'

const SOURCES = ['apps/web', 'packages/schema/src', 'pnpm-lock.yaml']
const cache = join(checkout, '.cache/web')

/** The folder of the built app; throws, with the last lines of the build, where it cannot be built. */
export async function buildWebApp(): Promise<string> {
  const folder = join(cache, fingerprint())
  if (existsSync(join(folder, 'index.html'))) return folder
  const draft = `${folder}.${process.pid}`
  const vite = join(checkout, 'apps/web/node_modules/vite/bin/vite.js')
  const build = spawn(process.execPath, [vite, 'build', '--outDir', draft, '--emptyOutDir', '--logLevel', 'warn'], {
    cwd: join(checkout, 'apps/web'),
    // Whoever builds, tests included, gets the app that people get.
    env: { ...process.env, NODE_ENV: 'production' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  for (const stream of [build.stdout, build.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-2_000)
    })
  const code = await new Promise<number | null>((resolve, reject) => {
    build.once('error', reject)
    build.once('close', resolve)
  })
  if (code !== 0) throw new Error(said.trim() || `vite ended with exit code ${code}`)
  // Whoever was faster has built the same.
  if (existsSync(folder)) rmSync(draft, { recursive: true })
  else renameSync(draft, folder)
  for (const old of readdirSync(cache).filter((name) => !name.includes('.') && !folder.endsWith(name)))
    rmSync(join(cache, old), { recursive: true, force: true })
  return folder
}

function fingerprint(): string {
  const hash = createHash('sha256')
  for (const file of SOURCES.flatMap(filesOf)) hash.update(file).update(readFileSync(join(checkout, file)))
  return hash.digest('hex').slice(0, 16)
}

/** The file itself, or the files below a folder. */
function filesOf(path: string): string[] {
  if (statSync(join(checkout, path)).isFile()) return [path]
  const names = readdirSync(join(checkout, path)).filter((name) => name !== 'node_modules')
  return names.toSorted().flatMap((name) => filesOf(`${path}/${name}`))
}
