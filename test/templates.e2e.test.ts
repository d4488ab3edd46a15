// Every shipped template and example, run through the API with simulated providers: files that open, at a known price.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type JsonObject, type LedgerEntry, parseDocument, type RunResource, textOf } from '@fabrique/schema'
import { inspect } from '@fabrique/steps'
import { readShippedDocuments } from '@fabrique/templates'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { checkout, type Fabrique, startFabrique } from './harness.ts'

const LIMIT_MS = 60_000
const shipped = await readShippedDocuments()

interface StepRow {
  id: string
  status: string
}

let fabrique: Fabrique

beforeAll(async () => {
  fabrique = await startFabrique()
})
afterAll(() => fabrique?.stop())

async function bytesOf(artifactId: string): Promise<Buffer> {
  const response = await fetch(`${fabrique.url}/v1/artifacts/${artifactId}/content`, {
    headers: { authorization: `Bearer ${fabrique.adminKey}` },
  })
  expect(response.status).toBe(200)
  return Buffer.from(await response.arrayBuffer())
}

async function stepsOf(runId: string): Promise<Record<string, string>> {
  const { body } = await fabrique.request<{ data: StepRow[] }>(`/v1/workflows/runs/${runId}/steps`)
  return Object.fromEntries(body.data.map(({ id, status }) => [id, status]))
}

/** Follows an accepted run to its end, approving on the way, and answers it, completed. Films may take their time. */
async function completed(accepted: RunResource): Promise<RunResource> {
  for await (const { data } of fabrique.events(accepted.id)) {
    if (data.kind === 'workflow.run.waiting') await fabrique.review(accepted.id, 'approve')
  }
  const run = await fabrique.run(accepted.id)
  expect(run.status, JSON.stringify(run.error)).toBe('completed')
  expect(run.simulated).toBe(true)
  return run
}

/** The final files of a run by role, each read back, decoded and of the promised type. */
async function filesOf(runId: string, template: JsonObject): Promise<Record<string, Buffer>> {
  const promised = (template.artifactSchema as { files: { role: string; mimeType: string }[] }).files
  const stored = await fabrique.artifacts(runId)
  const files = promised.map(async ({ role, mimeType }): Promise<[string, Buffer]> => {
    const file = stored.find((one) => one.role === role)
    expect(file, `${textOf(template.id)} made no "${role}"`).toBeDefined()
    const bytes = await bytesOf(file?.id ?? '')
    expect(bytes.byteLength).toBe(file?.bytes)
    expect(await inspect(bytes, mimeType)).toMatchObject({ mimeType })
    return [role, bytes]
  })
  return Object.fromEntries(await Promise.all(files))
}

function templateOf(id: string): JsonObject {
  return shipped.templates.find((template) => template.id === id) as JsonObject
}

/** The ledger's sum is the run's cost, it is within the template's budget, and so was the estimate. */
async function expectWithinBudget(run: RunResource, template: JsonObject): Promise<void> {
  const { maxPerRunUsd = Number.POSITIVE_INFINITY } = template.budgetPolicy as { maxPerRunUsd?: number }
  const ledger: LedgerEntry[] = await fabrique.ledger(run.id)
  const own = ledger.reduce((sum, entry) => sum + (entry.actualCostUsd ?? 0), 0)
  expect(run.cost.actual).toBeGreaterThan(0)
  expect(run.cost.actual).toBeGreaterThanOrEqual(own - 1e-9)
  expect(run.cost.actual).toBeLessThanOrEqual(maxPerRunUsd)
  expect(run.cost.estimated).toBeLessThanOrEqual(maxPerRunUsd)
}

const SPEAKERS = [
  { name: 'Mara', actor: 'a woman of fifty in a dark blue work jacket', topics: ['mending things'], voice_id: 'coral' },
  { name: 'Idris', actor: 'a man of thirty in a rust-red cardigan', topics: ['asking questions'], voice_id: 'ash' },
]
/** The least that each template takes, so that the suite stays quick, and aliases that must be answered. */
const RUNS: [workflow: string, input: JsonObject, aliases: string[]][] = [
  ['hooks/generate', { topic: 'overthinking', count: 7 }, ['hooks', 'best']],
  [
    'video/talking-head',
    { topic: 'overthinking', script_formula: 'reframe' },
    ['video', 'portrait', 'voice', 'script'],
  ],
  ['video/quick-shorts', { topic: 'why octopuses have three hearts', beats: 3 }, ['video', 'title', 'beats']],
  ['video/talking-head-builder', { topic: 'saying no', duration_secs: 15 }, ['video', 'cover', 'script', 'post']],
  ['video/daily-drop', { roster: SPEAKERS, slot_offset: 25 }, ['video', 'speaker', 'topic', 'hook']],
  ['generate-coloring-page-educational', { topic: 'how bees make honey' }, ['page', 'sheet', 'fact', 'words']],
  ['visual-essay', { topic: 'how bees find their way home', sections: 2 }, ['page', 'text', 'title']],
]

describe.each(RUNS)('%s', (workflow, input, aliases) => {
  const template = templateOf(workflow)
  let run: RunResource
  let files: Record<string, Buffer>

  it(
    'completes, and answers its aliases',
    async () => {
      run = await completed(await fabrique.submit({ workflow, input }))
      expect(Object.keys((run.outputs[0]?.output ?? {}) as object)).toEqual(expect.arrayContaining(aliases))
    },
    LIMIT_MS,
  )

  it('leaves every file that it promises, of its type', async () => {
    files = await filesOf(run.id, template)
    expect(Object.keys(files).length).toBeGreaterThan(0)
  })

  it('costs no more than its budget', () => expectWithinBudget(run, template))
})

describe('an estimate', () => {
  const expected = async (input: object) => {
    const answer = await fabrique.request<{ estimate: { expected: number } }>('/v1/workflows/runs?dry_run=true', {
      method: 'POST',
      body: { workflow: 'video/talking-head', input: { topic: 'overthinking', ...input } },
    })
    expect(answer.status, answer.text).toBe(200)
    return answer.body.estimate.expected
  }

  it('follows what the intake chooses', async () => {
    expect(await expected({ resolution: '480p' })).toBeLessThan(await expected({ resolution: '720p' }))
  })
})

describe('what the templates make', () => {
  const outputOf = async (workflow: string, input: JsonObject) => {
    const run = await completed(await fabrique.submit({ workflow, input }))
    return { run, output: run.outputs[0]?.output as JsonObject }
  }

  it('as many hooks as are asked for', async () => {
    const { output } = await outputOf('hooks/generate', { topic: 'overthinking', count: 12 })
    expect(output.hooks).toHaveLength(12)
  })

  it(
    'a talking head of given words, without writing any',
    async () => {
      const script_text = 'You are not overthinking. You are rehearsing. And you may leave the stage.'
      const { run, output } = await outputOf('video/talking-head', { topic: 'overthinking', script_text })
      expect(output.script).toBe(script_text)
      expect(await stepsOf(run.id)).toMatchObject({ script: 'skipped', voice: 'completed' })
      expect((await filesOf(run.id, templateOf('video/talking-head'))).script?.toString()).toBe(`${script_text}\n`)
    },
    LIMIT_MS,
  )

  it(
    'another talking head to the same words in the same voice, which are not paid for again',
    async () => {
      const input = { topic: 'overthinking', script_formula: 'reframe', duration_secs: 15 }
      const first = await outputOf('video/talking-head', input)
      const regenerate = { direction: 'an older speaker', keep: ['script', 'voice'], parent_run_id: first.run.id }
      const second = await outputOf('video/talking-head', { ...input, regenerate })
      expect(second.output.script).toBe(first.output.script)
      expect(second.output.voice).toMatchObject({ sha256: (first.output.voice as JsonObject).sha256 })
      expect(second.output.portrait).not.toMatchObject({ sha256: (first.output.portrait as JsonObject).sha256 })
      const paid = (await fabrique.ledger(second.run.id)).map(({ stepId }) => stepId)
      expect(paid.sort()).toEqual(['portrait', 'video'])
    },
    LIMIT_MS,
  )

  it(
    'a drop by the speaker whose turn it is',
    async () => {
      const { run, output } = await outputOf('video/daily-drop', { roster: SPEAKERS, slot_offset: 3 })
      expect(output.speaker).toBe('Idris')
      expect(await stepsOf(run.id)).toMatchObject({ pick_0: 'skipped', pick_1: 'completed', pick_2: 'skipped' })
    },
    LIMIT_MS,
  )

  it(
    'an essay that is one page without scripts or anything to load, with its pictures inside',
    async () => {
      const { run } = await outputOf('visual-essay', { topic: 'how bees find their way home', sections: 2 })
      const { page, text } = await filesOf(run.id, templateOf('visual-essay'))
      const html = page?.toString() ?? ''
      expect(html.match(/<img[^>]+src="data:image\/webp/g)).toHaveLength(2)
      expect(html).not.toMatch(/<script|src="http|<link/)
      expect(text?.toString().match(/^## /gm)).toHaveLength(3)
    },
    LIMIT_MS,
  )
})

describe('the examples, posted byte for byte', () => {
  const EXAMPLES: [file: string, slots: number][] = [
    ['talking-head-smoke.yaml', 1],
    ['talking-head.yaml', 3],
    ['talking-head-builder-smoke.yaml', 1],
    ['talking-head-builder-with-variants.yaml', 2],
    ['daily-drop.yaml', 1],
    ['daily-drop-fabric-team.yaml', 1],
  ]

  it.each(EXAMPLES)(
    '%s completes in every one of its %i slots',
    async (file, slots) => {
      const body = await readFile(join(checkout, 'examples/run-inputs', file), 'utf8')
      const { state = null } = yamlOf(body)
      const accepted = await fabrique.request<RunResource>('/v1/workflows/runs', {
        body,
        headers: { 'content-type': 'application/yaml' },
      })
      expect(accepted.status, accepted.text).toBe(202)
      const run = await completed(accepted.body)
      expect(run.outputs.map(({ status }) => status)).toEqual(Array(slots).fill('completed'))
      expect(run.state).toEqual(state)
      for (const slot of run.outputs) expect((await filesOf(slot.run_id, templateOf(run.workflow))).video).toBeDefined()
    },
    LIMIT_MS,
  )
})

function yamlOf(text: string): JsonObject {
  const outcome = parseDocument(Buffer.from(text), 'yaml')
  if (!outcome.ok) throw new Error(outcome.problems[0]?.detail)
  return outcome.document.value as JsonObject
}
