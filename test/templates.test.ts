// What ships as data: templates that pass the publish guards, and examples that fit them.
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { checkTemplate, parseRunSpec } from '@fabrique/engine'
import { createFakeClock } from '@fabrique/engine/testing'
import { createIntakeSchemas } from '@fabrique/intake'
import {
  BUNDLE_WORKFLOW,
  isJsonObject,
  type JsonObject,
  type JsonValue,
  normalizeTemplate,
  parseDocument,
  readInputSource,
  scaffoldRunSpec,
  type Step,
  textOf,
  WorkflowSet,
} from '@fabrique/schema'
import { createStandardCatalog } from '@fabrique/steps'
import { readShippedDocuments } from '@fabrique/templates'
import { afterAll, describe, expect, it } from 'vitest'
import { checkout } from './harness.ts'

const catalog = createStandardCatalog()
const intake = createIntakeSchemas()
afterAll(() => intake.close())
const shipped = await readShippedDocuments()
const templates = new Map(shipped.templates.map((document) => [textOf(document.id), normalizeTemplate(document)]))

const PROMISED = [
  'generate-clip-art-asset',
  'generate-coloring-page-educational',
  'hooks/generate',
  'video/daily-drop',
  'video/quick-shorts',
  'video/talking-head',
  'video/talking-head-builder',
  'visual-essay',
]
const EXAMPLES = [
  'clip-art-fox.yaml',
  'daily-drop-fabric-team.yaml',
  'daily-drop.yaml',
  'talking-head-builder-smoke.yaml',
  'talking-head-builder-with-variants.yaml',
  'talking-head-smoke.yaml',
  'talking-head.yaml',
]

function schemaOf(workflow: string): JsonObject {
  const template = templates.get(workflow)
  if (template === undefined) throw new Error(`no shipped template is called ${workflow}`)
  return template.intakeSchema as JsonObject
}

/** The input as a run of the workflow would see it, and what its intake schema says to that. */
async function look(workflow: string, input: JsonObject) {
  const { variants: _, regenerate: __, ...own } = input
  return await intake.validate(`shipped ${workflow}`, schemaOf(workflow), own)
}

async function read(path: string): Promise<JsonValue> {
  const outcome = parseDocument(await readFile(join(checkout, path)), 'yaml')
  if (!outcome.ok) throw new Error(`${path}: ${outcome.problems[0]?.detail}`)
  return outcome.document.value
}

describe('the shipped templates', () => {
  it('are those that are promised, each where its id says', async () => {
    expect([...templates.keys()].sort()).toEqual(PROMISED)
    for (const id of PROMISED) expect((await read(`templates/${id}.yaml`)) as JsonObject).toMatchObject({ id })
  })

  it.each(PROMISED)('%s passes the publish guards with the shipped prices', async (id) => {
    const problems = await checkTemplate(templates.get(id) as JsonObject, {
      catalog,
      pricing: { current: async () => shipped.pricing },
      clock: createFakeClock(),
      templates: { listed: async (ids) => new Map([...templates].filter(([one]) => ids.includes(one))) },
      intake,
    })
    expect(problems).toEqual([])
  })

  it.each(PROMISED)('%s names models that live on', (id) => {
    const { providers, runtimeSteps } = templates.get(id) as { providers: JsonObject; runtimeSteps: Step[] }
    for (const step of runtimeSteps) {
      const tool = textOf(step.tool).includes('/') ? step.tool : undefined
      for (const name of [step.model ?? tool ?? providers[textOf(step.provider)] ?? []].flat().map(textOf))
        expect(shipped.pricing.models?.find(({ model }) => model === name)?.until, name).toBeUndefined()
    }
  })

  it.each(PROMISED)('%s says what it costs at most, and names every field of its form', (id) => {
    const { budgetPolicy, intakeSchema } = templates.get(id) as { budgetPolicy: JsonValue; intakeSchema: JsonObject }
    if (isJsonObject(budgetPolicy)) expect(budgetPolicy.maxPerRunUsd).toBeGreaterThan(0)
    expect(textOf(isJsonObject(budgetPolicy) ? budgetPolicy.description : budgetPolicy)).not.toBe('')
    const properties = intakeSchema.properties as Record<string, JsonObject>
    expect([...(intakeSchema['x-order'] as string[])].sort()).toEqual(Object.keys(properties).sort())
    for (const [name, field] of Object.entries(properties)) {
      expect([field.title, field.description], `${id}: ${name}`).not.toContain(undefined)
    }
  })

  it.each(PROMISED)('%s takes the scaffold that is written for it, as it stands', async (id) => {
    const { outputAliases: _, ...template } = templates.get(id) as JsonObject & { intakeSchema: JsonObject }
    const text = scaffoldRunSpec({ ...template, id }, { format: 'yaml', optional: true, showOutput: false })
    const parsed = parseDocument(Buffer.from(text), 'yaml')
    const { workflow, input = {} } = parseRunSpec(parsed.ok ? parsed.document.value : null, undefined)
    expect((await look(workflow, input as JsonObject)).problems).toEqual([])
  })

  it('take the smallest input of a talking head, and anything that is not declared', async () => {
    const seeds = { topic: 'overthinking', script_formula: 'reframe', style: 'punchy', quality: 'high' }
    const { problems, undeclared, value } = await look('video/talking-head', seeds)
    expect(problems).toEqual([])
    expect(undeclared).toEqual(['style', 'quality'])
    expect(value).toMatchObject({ duration_secs: 30, language: 'en' })
    expect((await look('video/talking-head', { topic: 'x y', script_formula: 'no such one' })).problems).toEqual([])
  })

  it('keep the step ids that a regeneration names', () => {
    const steps = (templates.get('video/talking-head') as JsonObject).runtimeSteps as JsonObject[]
    expect(steps.map(({ id }) => id)).toEqual(expect.arrayContaining(['script', 'voice']))
  })

  it('give a slot and every speaker of a roster their defaults', async () => {
    const speaker = { name: 'A', actor: 'a person in a green coat', topics: ['rain'] }
    const { problems, value } = await look('video/daily-drop', { roster: [speaker, speaker] })
    expect(problems).toEqual([])
    expect(value).toMatchObject({ slot_offset: 0, roster: [{ voice_id: 'sal' }, { voice_id: 'sal' }] })
  })
})

describe('the price list', () => {
  const { rates, models = [] } = shipped.pricing
  const rowOf = (name: string) => models.find(({ model }) => model === name)

  it('has a row for each model that it prices, successors too, with what it takes as a schema that compiles', async () => {
    for (const name of new Set(rates.map(({ model }) => model))) expect(rowOf(name), name).toBeDefined()
    for (const { model, capability, endpoint, operation, parameters, successor } of models) {
      if (successor !== undefined) expect(rowOf(successor)?.until, successor).toBeUndefined()
      expect(catalog.model(model), model).toMatchObject({ capability, endpoint, operation })
      expect(await intake.check(parameters), model).toEqual([])
    }
  })

  it('names each rate once', () => {
    const keys = rates.map(({ model, unit, when }) => JSON.stringify([model, unit, when ?? null]))
    expect(new Set(keys).size).toBe(keys.length)
  })

  it('has pictures of gpt-image-2 as the formula of their maker says, and nothing dearer', () => {
    const pictures = rates.filter(({ model, unit }) => model === 'openai/gpt-image-2' && unit === 'image')
    const edge: Record<string, number> = { low: 16, medium: 48, high: 96 }
    for (const { unit_price_usd: price, when = {}, assumed } of pictures) {
      expect(price).toBeLessThanOrEqual(0.7116)
      const [long = 0, short = 0] = (when.size ?? '')
        .split('x')
        .map(Number)
        .sort((a, b) => b - a)
      const factor = edge[when.quality ?? '']
      if (assumed || factor === undefined) continue
      const tokens = Math.ceil((factor * Math.round((factor * short) / long) * (2_000_000 + long * short)) / 4_000_000)
      expect(Math.abs(price - tokens * 0.00003), JSON.stringify(when)).toBeLessThan(0.0005)
    }
  })
})

describe('the examples', () => {
  it('are those that are promised', async () => {
    expect(await readdir(join(checkout, 'examples/run-inputs'))).toEqual(expect.arrayContaining(EXAMPLES))
  })

  it.each(EXAMPLES)('%s is a run-spec whose input its workflow takes', async (name) => {
    const { workflow, input, bundle } = parseRunSpec(await read(`examples/run-inputs/${name}`), undefined)
    const entries = workflow === BUNDLE_WORKFLOW ? (bundle ?? []) : [{ workflow, input }]
    for (const entry of entries) expect((await look(entry.workflow, entry.input as JsonObject)).problems).toEqual([])
  })

  it.each(['chained.yaml'])('%s is a set whose stages fit together', async (name) => {
    const set = WorkflowSet.parse(await read(`examples/workflow-sets/${name}`))
    for (const run of set.runs) {
      const wired = Object.entries(run.inputs_from ?? {}).map(([field, text]) => {
        const source = readInputSource(text)
        const upstream = set.runs.find((one) => one.name === source?.run)
        const aliases = templates.get(upstream?.workflow ?? '')?.outputAliases ?? {}
        expect(Object.keys(aliases), `${name}: ${run.name}.${field} reads ${text}`).toContain(source?.alias)
        return [field, 'what the other stage made']
      })
      const input = { ...set.shared_input, ...run.input, ...Object.fromEntries(wired) } as JsonObject
      const { problems, undeclared } = await look(run.workflow, input)
      expect({ problems, undeclared }, `${name}: ${run.name}`).toEqual({ problems: [], undeclared: [] })
    }
  })
})
