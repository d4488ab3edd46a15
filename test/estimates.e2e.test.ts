// Each shipped template at three intakes: what it is estimated at against what it costs with answers of real length.
// The engine with its real adapters over HTTP against a stand-in of the providers; only the record is in memory.
import { join } from 'node:path'
import { createEngine, createSubmitter, type Delivery, type EngineDeps } from '@fabrique/engine'
import { createMemoryArtifactStore, createMemoryRunStore, createSequentialIds } from '@fabrique/engine/testing'
import { createIntakeSchemas } from '@fabrique/intake'
import { type JsonObject, normalizeTemplate, roundUsd, Template, textOf } from '@fabrique/schema'
import { createSimulatedClient, simulationMissing } from '@fabrique/simulators'
import { createProviderMode, createProviders, createStandardCatalog, inspect } from '@fabrique/steps'
import { readShippedDocuments } from '@fabrique/templates'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { checkout } from './harness.ts'
import { type RealisticProvider, startRealisticProvider } from './realistic-provider.ts'

const shipped = await readShippedDocuments()
const templates = new Map(shipped.templates.map((one) => [textOf(one.id), Template.parse(normalizeTemplate(one))]))
const catalog = createStandardCatalog()
const clock = {
  nowMs: () => Date.now(),
  sleep: (ms: number, signal: AbortSignal) =>
    new Promise<void>((resolve, reject) => {
      const timer = setTimeout(resolve, ms)
      signal.addEventListener('abort', () => (clearTimeout(timer), reject(signal.reason)), { once: true })
    }),
}

const speaker = (name: string) => ({
  name,
  actor: 'a woman of fifty with short grey hair and round glasses, in a dark blue work jacket, watchful and kind',
  topics: ['mending things', 'tools that outlive their owners', 'what a repair is worth', 'the smell of a workshop'],
})
const LONG = 'A line that says a little more than it has to about what is wanted, and why it is wanted just so. '

/** By template: the least that can be asked for, what the form suggests, and the most. */
const INTAKES: Record<string, [small: JsonObject, usual: JsonObject, large: JsonObject]> = {
  'generate-clip-art-asset': [
    { prompt: 'a fox' },
    { prompt: 'a fox wearing a scarf', style: 'sticker', extras: 'holding a lantern' },
    { prompt: LONG.repeat(5), style: 'watercolor', extras: LONG.repeat(3) },
  ],
  'generate-coloring-page-educational': [
    { topic: 'bees', age_group: 'toddler' },
    { topic: 'how bees make honey' },
    { topic: LONG, age_group: 'older-child', learning_goal: LONG.repeat(2), language: 'en-GB' },
  ],
  'visual-essay': [
    { topic: 'lighthouses', sections: 2 },
    { topic: 'why lighthouses went silent' },
    { topic: LONG, angle: LONG.repeat(4), sections: 6, notes: LONG.repeat(60), sources: Array(20).fill(LONG) },
  ],
  'hooks/generate': [
    { topic: 'overthinking', count: 1 },
    { topic: 'overthinking' },
    { topic: LONG, count: 20, audience: LONG, platform: 'newsletter' },
  ],
  'video/talking-head': [
    { topic: 'overthinking', duration_secs: 15 },
    { topic: 'overthinking', script_formula: 'reframe' },
    { topic: LONG, duration_secs: 60, resolution: '720p', actor: LONG.repeat(4), hook: LONG },
  ],
  'video/talking-head-builder': [
    { topic: 'saying no', duration_secs: 15 },
    { topic: 'saying no without an excuse', goal: 'turn down one invitation this week' },
    { topic: LONG, duration_secs: 60, resolution: '720p', goal: LONG.repeat(2), actor: LONG.repeat(3) },
  ],
  'video/quick-shorts': [
    { topic: 'octopuses', beats: 3, subtitle_style: 'word' },
    { topic: 'why octopuses have three hearts' },
    { topic: LONG, beats: 8, quality: 'premium', background: 'stock' },
  ],
  'video/daily-drop': [
    { roster: [speaker('Mara')], duration_secs: 15 },
    { roster: [speaker('Mara'), speaker('Jon')], slot_offset: 24, theme: 'the week the clocks go back' },
    {
      roster: ['Mara', 'Jon', 'Ada', 'Lev', 'Noor', 'Sam'].map(speaker),
      slot_offset: 5,
      recent_topics: Array(30).fill(LONG),
      duration_secs: 60,
      resolution: '720p',
    },
  ],
}
const SIZES = ['small', 'usual', 'large'] as const

let provider: RealisticProvider
const intake = createIntakeSchemas()
beforeAll(async () => {
  provider = await startRealisticProvider()
})
afterAll(async () => {
  await intake.close()
  await provider?.close()
})

/** Estimates and runs a workflow; the sum of the ledger is of its called runs too. */
async function run(workflow: string, input: JsonObject) {
  const store = createMemoryRunStore({ clock, ids: createSequentialIds('9') })
  const ids = createSequentialIds('8')
  const deliveries: Delivery[] = []
  const queue: EngineDeps['queue'] & { publish(): void } = {
    enqueue: async (given) => void deliveries.push(...given),
    publish() {},
    publishCancel() {},
  }
  const config = {
    mode: 'live' as const,
    settings: {
      openai: { apiKey: 'k', baseUrl: `${provider.url}/v1` },
      fal: { apiKey: 'k', baseUrl: provider.url },
    },
  }
  const submitter = createSubmitter({
    store,
    queue,
    ids,
    clock,
    catalog,
    intake,
    sources: {
      findRunnable: async (id) => templates.get(id) ?? null,
      pricing: async () => shipped.pricing,
      earlierRun: async () => null,
    },
    mode: createProviderMode(config),
  })
  const broken: string[] = []
  const deps: EngineDeps = {
    store,
    queue,
    artifacts: createMemoryArtifactStore(),
    catalog,
    intake,
    providers: createProviders(config, { createSimulatedClient, simulationMissing }),
    limits: { enter: async () => () => {} },
    inspect,
    clock,
    ids,
    log: {
      debug() {},
      info() {},
      warn() {},
      error: (context, message) => broken.push(`${message} ${JSON.stringify(context)}`),
    },
    worker: 'w',
    leaseMs: 600_000,
  }
  const engine = createEngine(deps)
  const document = { workflow, input }
  const tried = await submitter.submit({ organizationId: 'system', admin: false, document, dryRun: true })
  if (tried.outcome !== 'dry-run') throw new Error('a dry run does nothing else')
  const accepted = await submitter.submit({ organizationId: 'system', admin: false, document })
  if (accepted.outcome !== 'accepted') throw new Error('the run was not accepted')
  const seen = new Set<string>()
  while (deliveries.length > 0) {
    const { runId } = deliveries.shift() as Delivery
    seen.add(runId)
    await engine.execute(runId, new AbortController().signal)
  }
  const calls = (await Promise.all([...seen].map((id) => store.history(id)))).flatMap((one) => one.calls)
  const ledger = roundUsd(calls.reduce((sum, { actualUsd }) => sum + (actualUsd ?? 0), 0))
  return { estimate: tried.estimate, ledger, calls, broken, run: store.read(accepted.run.id) }
}

const CASES: [id: string, size: string, input: JsonObject][] = [
  ...Object.entries(INTAKES).flatMap(([id, intakes]) =>
    SIZES.map((size, index): [string, string, JsonObject] => [id, size, intakes[index] as JsonObject]),
  ),
  ['video/talking-head', 'given', { topic: 'x y', script_text: LONG.repeat(20).slice(0, 1500), resolution: '720p' }],
]

const HEAD = `# Estimates and what runs cost

For each shipped template, at three intakes: what a dry run says that it will cost (if all goes well, likely, at most), and what the
ledger says that it did cost. A test makes this page and fails where a run costs a tenth more or less than was likely, or lies outside
its bounds; the limit of each template (\`maxPerRunUsd\`) lies above the most.

The providers are stand-ins that answer with texts of real length and count as the providers do: tokens by OpenAI's own encoding, with
the schema of an answer among those of the prompt; reasoning as a share of the answer by its effort; pictures by the formula of their
maker; films as long as their sound. What models write and think differs from call to call, so expect more spread where texts are most
of the cost, as in \`hooks/generate\`; pictures and films cost what they are estimated at.

| Template | Intake | Low | Expected | High | Ledger | Deviation |
|---|---|---|---|---|---|---|
`

const rows: string[] = []

describe('the estimate of a shipped template', () => {
  it.each(CASES)(
    '%s, %s, is within a tenth of what the run costs, and the run within its bounds and its cap',
    async (id, size, input) => {
      const { estimate, ledger, broken, run: made } = await run(id, input)
      expect([broken, made?.error ?? null]).toEqual([[], null])
      expect(['completed', 'waiting']).toContain(made?.status)
      const { low, expected, high } = estimate
      rows.push(
        `| \`${id}\` | ${size}: ${told(input)} | ${[low, expected, high, ledger].map(usd).join(' | ')} | ${deviation(expected, ledger)} |`,
      )
      expect(Math.abs(expected / ledger - 1)).toBeLessThan(0.1)
      expect(low).toBeLessThanOrEqual(ledger)
      expect(ledger).toBeLessThanOrEqual(high)
      expect(high).toBeLessThanOrEqual(capOf(id))
    },
    240_000,
  )

  it('is on the page of estimates with what the run cost; `-u` writes it anew', async () => {
    await expect(`${HEAD}${rows.join('\n')}\n`).toMatchFileSnapshot(join(checkout, 'docs/reference/estimates.md'))
  })
})

function capOf(id: string): number {
  const policy = templates.get(id)?.budgetPolicy
  return typeof policy === 'object' ? (policy.maxPerRunUsd ?? Number.POSITIVE_INFINITY) : Number.POSITIVE_INFINITY
}

/** What of an input one can see in a cell. */
function told(input: JsonObject): string {
  return Object.entries(input)
    .map(([name, value]) => {
      if (Array.isArray(value)) return `${name} of ${value.length}`
      const text = textOf(value)
      return text.length > 40 ? `${name} of ${text.length} characters` : `${name} ${text}`
    })
    .join(', ')
}

function usd(amount: number): string {
  return `$${Number(amount.toPrecision(3))}`
}

function deviation(expected: number, ledger: number): string {
  const percent = Math.round((expected / ledger - 1) * 1000) / 10
  return `${percent > 0 ? '+' : ''}${percent} %`
}
