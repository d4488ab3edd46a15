/**
 * `npm run bench`: how fast the product is against the floor under it, raw BullMQ on the same machine at the same time.
 * Hides rounds and medians: contenders take turns, so that a busy machine disturbs them alike.
 */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { isServiceError } from '@fabrique/services'
import { openProvider, startDelays, turnDelays } from './backlog.ts'
import { batchFloor, batchOurs } from './batch.ts'
import { drainFloor, drainOurs, prepareNaive } from './drain.ts'
import type { Load } from './templates.ts'
import type { ServerCosts } from './server-costs.ts'
import { latencyFloor, latencyOurs } from './latency.ts'
import { openStage, type Stage } from './stage.ts'
import { endDelays } from './streams.ts'
import { submitFloor, submitOurs } from './submit.ts'

const USAGE = `npm run bench -- [--quick] [--json FILE] [--only CASE,…] [--profile FOLDER]`

interface Row {
  case: string
  contender: string
  /** Of the floor of the same round, the median over rounds; null for figures that have no floor. */
  ratio: number | null
  value: number
  unit: 'runs/s' | 'ms' | 'µs' | 'MiB' | 'KiB'
  rounds: number[]
}

const FULL = {
  runs: 5_000,
  rounds: 5,
  warmUps: 2,
  samples: 200,
  backlogs: [0, 10_000, 100_000],
  probes: 40,
  streams: [10, 500, 2_000],
  ends: 200,
}
const QUICK = {
  runs: 5_000,
  rounds: 3,
  warmUps: 1,
  samples: 100,
  backlogs: [0, 20_000],
  probes: 20,
  streams: [10, 500],
  ends: 40,
}
const BATCH_LINES = 10_000
const FLOOD = { waiting: 5_000, others: 10 }

function quantile(values: number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN
}

const median = (values: number[]) => quantile(values, 0.5)

/** Rounds in which every contender takes its turn; the first is the floor. Warm-up rounds are not counted. */
async function compare(
  name: string,
  rounds: number,
  warmUps: number,
  contenders: Record<string, () => Promise<number>>,
): Promise<Row[]> {
  const entries = Object.entries(contenders)
  const values = entries.map((): number[] => [])
  for (let round = -warmUps; round < rounds; round += 1) {
    for (const [index, [contender, measure]] of entries.entries()) {
      const value = await measure()
      if (round >= 0) values[index]?.push(value)
      progress(`${name} ${round < 0 ? 'warm-up' : round + 1}: ${contender} ${Math.round(value)}/s`)
    }
  }
  const [floor = []] = values
  return entries.map(([contender], index) => {
    const own = values[index] ?? []
    const ratio = median(own.map((value, round) => value / (floor[round] ?? Number.NaN)))
    return { case: name, contender, ratio, value: median(own), unit: 'runs/s', rounds: own }
  })
}

/** One of the drain cases, with what each of our runs cost the servers. */
async function drains(
  stage: Stage,
  load: Load,
  { runs, rounds, warmUps }: typeof FULL,
  others: Record<string, () => Promise<number>> = {},
): Promise<Row[]> {
  const costs: ServerCosts[] = []
  const rows = await compare(load, rounds, warmUps, {
    'raw BullMQ': () => drainFloor(stage, 'bullmq', load, runs),
    async Fabrique() {
      const drained = await drainOurs(stage, load, runs)
      costs.push(drained.costs)
      return drained.perSecond
    },
    ...others,
  })
  const cost = (contender: string, unit: Row['unit'], of: (one: ServerCosts) => number): Row => {
    const values = costs.slice(warmUps).map(of)
    return { case: `${load}: cost of each`, contender, ratio: null, value: median(values), unit, rounds: values }
  }
  return [
    ...rows,
    cost('CPU of the worker', 'µs', ({ workerUs }) => workerUs),
    cost('CPU of PostgreSQL', 'µs', ({ postgresUs }) => postgresUs),
    cost('CPU of Redis', 'µs', ({ redisUs }) => redisUs),
    cost('write-ahead log', 'KiB', ({ walBytes }) => walBytes / 1_024),
  ]
}

const CASES: Record<string, (stage: Stage, size: typeof FULL) => Promise<Row[]>> = {
  async drain(stage, size) {
    await prepareNaive(stage)
    const naive = () => drainFloor(stage, 'naive', 'drain', size.runs)
    return await drains(stage, 'drain', size, { 'BullMQ + naive PostgreSQL': naive })
  },
  steps: (stage, size) => drains(stage, 'steps', size),
  bundles: (stage, size) => drains(stage, 'bundles', { ...size, runs: size.runs / 5 }),
  async submit(stage, { runs, rounds, warmUps }) {
    return await compare('submit', rounds, warmUps, {
      'raw queue.add': () => submitFloor(stage, runs),
      'POST /v1/workflows/runs': () => submitOurs(stage, runs),
    })
  },
  async latency(stage, { samples }) {
    await latencyFloor(stage, samples / 4)
    await latencyOurs(stage, samples / 4)
    const floor: number[] = []
    const ours: number[] = []
    for (let part = 0; part < 4; part += 1) {
      floor.push(...(await latencyFloor(stage, samples / 4)))
      ours.push(...(await latencyOurs(stage, samples / 4)))
    }
    return [0.5, 0.99].flatMap((q) => {
      const name = `latency p${q * 100}`
      const base = quantile(floor, q)
      const row = (contender: string, values: number[]): Row => {
        const value = quantile(values, q)
        return { case: name, contender, ratio: value / base, value, unit: 'ms', rounds: values }
      }
      return [row('raw BullMQ, add → completed', floor), row('POST → terminal SSE event', ours)]
    })
  },
  async batch(stage, { rounds, warmUps }) {
    const grown: number[] = []
    const rows = await compare('batch', rounds, warmUps, {
      'raw queue.addBulk': () => batchFloor(stage, BATCH_LINES),
      async [`${BATCH_LINES} NDJSON lines`]() {
        const { perSecond, grownMib } = await batchOurs(stage, BATCH_LINES)
        grown.push(grownMib)
        return perSecond
      },
    })
    const counted = grown.slice(warmUps)
    return [
      ...rows,
      {
        case: 'batch',
        contender: 'memory of the API',
        ratio: null,
        value: median(counted),
        unit: 'MiB',
        rounds: counted,
      },
    ]
  },
  async priority(stage, { backlogs, probes }) {
    const rows: Row[] = []
    let base: number | undefined
    await startDelays(stage, 0, probes) // Warms up.
    for (const waiting of backlogs) {
      const delays = await startDelays(stage, waiting, probes)
      base ??= median(delays)
      const contender = `priority 95 behind ${waiting} runs of 2 s`
      rows.push(
        {
          case: 'start delay p50',
          contender,
          ratio: median(delays) / base,
          value: median(delays),
          unit: 'ms',
          rounds: delays,
        },
        { case: 'slowest', contender, ratio: null, value: Math.max(...delays), unit: 'ms', rounds: delays },
      )
    }
    return rows
  },
  async streams(stage, { streams, ends }) {
    const rows: Row[] = []
    let base: number | undefined
    await endDelays(stage, 0, ends) // Warms up.
    for (const others of streams) {
      const { kibPerStream, delaysMs } = await endDelays(stage, others, ends)
      base ??= median(delaysMs)
      const contender = `client of a run beside ${others} streams`
      for (const q of [0.5, 0.99]) {
        const value = quantile(delaysMs, q)
        const ratio = q === 0.5 ? value / base : null
        rows.push({ case: `commit → event p${q * 100}`, contender, ratio, value, unit: 'ms', rounds: delaysMs })
      }
      if (kibPerStream === null) continue
      const memory = { contender: `API, of ${others}`, ratio: null, value: kibPerStream, rounds: [kibPerStream] }
      rows.push({ case: 'memory per stream', ...memory, unit: 'KiB' })
    }
    return rows
  },
  async organizations(stage) {
    const delays = await turnDelays(stage, FLOOD.waiting, FLOOD.others)
    const contender = `${FLOOD.others} runs of 2 s behind ${FLOOD.waiting} of another organization`
    return [
      { case: 'start delay p50', contender, ratio: null, value: median(delays), unit: 'ms', rounds: delays },
      { case: 'slowest', contender, ratio: null, value: Math.max(...delays), unit: 'ms', rounds: delays },
    ]
  },
}

function table(rows: Row[]): string {
  const cells = rows.map(({ case: name, contender, ratio, value, unit }) => [
    name,
    contender,
    ratio === null ? '' : `${ratio.toFixed(2)}x`,
    `${unit !== 'runs/s' ? value.toFixed(1) : Math.round(value).toLocaleString('en')} ${unit}`,
  ])
  const all = [['case', 'contender', 'of floor', 'median'], ...cells]
  const widths = [0, 1, 2, 3].map((column) => Math.max(...all.map((row) => row[column]?.length ?? 0)))
  return all
    .map((row) =>
      row.map((cell, at) => (at < 2 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))).join('  '),
    )
    .join('\n')
}

function progress(line: string): void {
  process.stderr.write(`${line}\n`)
}

async function bench(): Promise<void> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      json: { type: 'string' },
      only: { type: 'string', default: Object.keys(CASES).join(',') },
      profile: { type: 'string' },
    },
  })
  const wanted = values.only.split(',')
  const unknown = wanted.find((name) => !Object.hasOwn(CASES, name))
  if (unknown !== undefined) throw new Error(`There is no case "${unknown}". ${USAGE}`)
  const provider = await openProvider()
  const stage = await openStage({ providerUrl: provider.url, profileFolder: values.profile, onProgress: progress })
  try {
    const rows: Row[] = []
    for (const name of wanted) rows.push(...((await CASES[name]?.(stage, values.quick ? QUICK : FULL)) ?? []))
    console.log(`\n${table(rows)}`)
    if (values.json !== undefined) {
      writeFileSync(values.json, `${JSON.stringify({ node: process.version, quick: values.quick, rows }, null, 2)}\n`)
    }
  } finally {
    await stage.close()
    provider.close()
  }
}

try {
  await bench()
} catch (error) {
  console.error(isServiceError(error) ? error.message : error)
  process.exitCode = 1
}
process.exit()
