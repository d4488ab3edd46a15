/**
 * `npm run soak`: every form of run under random faults from a seed, and then an audit of every promise.
 * Hides nothing: it sets the stage, lets faults happen one after another, waits until all is mended, and reports.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { isServiceError } from '@fabrique/services'
import { checkout, stopRequested } from '../scripts/supervisor.ts'
import { audit } from './audit.ts'
import { createChance } from './chance.ts'
import { FAULTS, type Fault } from './faults.ts'
import { openInstallation } from './installation.ts'
import { startProvider } from './provider.ts'
import { type Recovery, type Report, reportText } from './report.ts'
import { prepare, probe, review, startClients } from './workload.ts'

const USAGE = 'npm run soak -- [--minutes N] [--seed N] [--only FAULT,…] [--out FOLDER]'
const WORKERS = 3
const CLIENTS = 8
const PAUSE_MS = 3_000
const PROBE_MS_MAX = 120_000
const SETTLE_MS_MAX = 240_000
const BETWEEN_FAULTS_MS: [number, number] = [1_000, 4_000]
const POLL_MS = 500

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    only: { type: 'string' },
    out: { type: 'string', default: join(checkout, '.fabrique/soak') },
  },
})
const [minutes, seed] = [Number(values.minutes), Number(values.seed)]
const faults = FAULTS.filter(({ name }) => values.only === undefined || values.only.split(',').includes(name))
if (!(minutes > 0) || !Number.isInteger(seed) || faults.length === 0) {
  console.error(`Usage: ${USAGE}\nFaults: ${FAULTS.map(({ name }) => name).join(', ')}`)
  process.exit(2)
}

try {
  const report = await soak()
  const folder = resolve(values.out)
  mkdirSync(folder, { recursive: true })
  const file = join(folder, `soak-${seed}`)
  writeFileSync(`${file}.json`, `${JSON.stringify(report, null, 2)}\n`)
  writeFileSync(`${file}.txt`, reportText(report))
  console.log(`\n${reportText(report)}\nThe report is ${file}.json and .txt.`)
  process.exitCode = report.passed ? 0 : 1
} catch (error) {
  console.error(isServiceError(error) ? error.message : error)
  process.exitCode = 1
}
process.exit()

async function soak(): Promise<Report> {
  const startedAt = new Date()
  const stopped = new AbortController()
  void stopRequested(() => stopped.abort())
  const folder = join(checkout, '.fabrique', `soak-${process.pid}`)
  mkdirSync(folder, { recursive: true })
  const provider = await startProvider(createChance(seed + 1))
  const installation = await openInstallation({
    folder,
    workers: WORKERS,
    env: {
      FABRIQUE_PROVIDERS: 'live',
      OPENAI_API_KEY: 'soak',
      OPENAI_BASE_URL: `${provider.url}/v1`,
      FAL_KEY: 'soak',
      FAL_BASE_URL: provider.url,
    },
  })
  try {
    const { url, query } = installation
    const clients = await prepare(url, installation.adminKey)
    const work = startClients(url, clients, {
      chance: createChance(seed + 2),
      count: CLIENTS,
      pauseMs: PAUSE_MS,
      stopped: stopped.signal,
    })
    const settled = new AbortController()
    const reviewing = review(url, clients, settled.signal)
    const chance = createChance(seed)
    const scene = { installation, provider, chance, altered: new Set<string>() }
    const recoveries: Recovery[] = []
    const untilMs = performance.now() + minutes * 60_000
    const beganMs = performance.now()
    let deck: Fault[] = []
    while (performance.now() < untilMs && !stopped.signal.aborted) {
      await delay(chance.between(...BETWEEN_FAULTS_MS))
      if (deck.length === 0) deck = faults.toSorted(() => chance.next() - 0.5)
      const fault = deck.pop()
      if (fault === undefined) break
      const atMs = performance.now()
      await fault.inflict(scene)
      const mendedMs = performance.now()
      const recoveryMs = await probe(url, clients[0], `probe-${recoveries.length}`, PROBE_MS_MAX)
      const recovery = {
        fault: fault.name,
        atS: Math.round((atMs - beganMs) / 1000),
        brokenMs: Math.round(mendedMs - atMs),
        recoveryMs: recoveryMs === null ? null : Math.round(recoveryMs),
      }
      recoveries.push(recovery)
      console.log(`${recovery.atS} s  ${fault.name}: ${recovery.brokenMs} ms, works again after ${recoveryMs} ms`)
    }
    stopped.abort()
    await work.done
    const endedMs = performance.now()
    let isSettled = false
    while (!isSettled && performance.now() < endedMs + SETTLE_MS_MAX) {
      const [row] = await query<{ open: number }>(
        `select count(*)::int as open from runs where status not in ('completed', 'failed', 'cancelled')`,
      )
      isSettled = row?.open === 0
      if (!isSettled) await delay(POLL_MS)
    }
    const settledMs = isSettled ? Math.round(performance.now() - endedMs) : null
    settled.abort()
    await reviewing
    const findings = await audit(installation, provider, work.accepted, clients, scene.altered)
    const counted = async (sql: string) =>
      Object.fromEntries((await query<{ name: string; n: number }>(sql)).map(({ name, n }) => [name, n]))
    const byStatus = await counted('select status as name, count(*)::int as n from runs group by 1 order by 1')
    const calls = await counted('select outcome as name, count(*)::int as n from provider_calls group by 1')
    const isClean = Object.values(findings).every((found: string[]) => found.length === 0)
    return {
      seed,
      startedAt: startedAt.toISOString(),
      minutes,
      commit: execFileSync('git', ['describe', '--always', '--dirty'], { cwd: checkout, encoding: 'utf8' }).trim(),
      machine: `${cpus().length} cores, Node ${process.version}`,
      runs: {
        accepted: work.accepted.length,
        onRecord: Object.values(byStatus).reduce((sum, n) => sum + n, 0),
        byForm: tally(work.accepted.map(({ form }) => form)),
        byStatus,
      },
      failures: await counted(
        `select coalesce(error ->> 'code', '-') as name, count(*)::int as n from runs where status = 'failed' group by 1`,
      ),
      calls: {
        made: provider.made.length,
        onLedger: Object.values(calls).reduce((sum, n) => sum + n, 0),
        unknown: calls.unknown ?? 0,
      },
      refused: work.refused,
      recoveries,
      settledMs,
      findings,
      passed:
        isClean &&
        settledMs !== null &&
        work.refused.length === 0 &&
        recoveries.every((one) => one.recoveryMs !== null),
    }
  } finally {
    await installation.close()
    await provider.close()
    if (process.exitCode === undefined) rmSync(join(folder, 'home'), { recursive: true, force: true })
  }
}

function tally(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1
  return counts
}
