import type { JsonObject, RateTable, Step, Template } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { type Catalog, createCatalog } from '../catalog.ts'
import type { EarlierRun } from '../inheritance.ts'
import type { Estimate } from '../specification.ts'
import { contentHash } from '../template/compile.ts'
import { aCheckpoint, aDefinition, anArtifact } from '../testing/factories.ts'
import { createFakeClock } from '../testing/fake-clock.ts'
import { createSequentialIds } from '../testing/sequential-ids.ts'
import { aTemplate } from '../testing/factories.ts'
import { createTestCatalog } from '../testing/test-engine.ts'
import { checkDay, checkRun, createPreparer, type PrepareDeps, type RunRequest } from './prepare.ts'

const PRICING: RateTable = {
  version: '2026.01.01',
  currency: 'USD',
  rates: ['acme/one', 'acme/two'].map((model) => ({ model, unit: 'request', unit_price_usd: 0.25, assumed: true })),
}

function asking(steps: (Partial<Step> & { id: string })[], over: Partial<Template> = {}): Template {
  return aTemplate({
    runtimeSteps: steps.map((step): Step => ({ kind: 'ask', prompt: 'p', model: 'acme/one', ...step })),
    ...over,
  })
}

/** A step that calls a workflow, as the catalog of the steps package names its kind. */
function calling(workflow: string, version?: string): Partial<Step> & { id: string } {
  const call = { id: 'd', kind: 'workflow', workflow, prompt: undefined, model: undefined }
  return version === undefined ? call : { ...call, version }
}

function catalogOf(over: Partial<Catalog> = {}): Catalog {
  const catalog = createTestCatalog()
  return { ...catalog, kind: (name) => catalog.kind(name === 'workflow' ? 'call' : name), ...over }
}

/** A preparer over these templates; the first of an id is its current version. */
function setup(templates: Template[], over: Partial<PrepareDeps> = {}) {
  const asked: [string, string | null, boolean][] = []
  const validated: [string, JsonObject][] = []
  const preparer = createPreparer({
    async findRunnable(id, version, drafts) {
      asked.push([id, version, drafts])
      return templates.find((one) => one.id === id && (version === null || version === one.version)) ?? null
    },
    intake: {
      async validate(hash, schema, value) {
        validated.push([hash, schema])
        return { problems: [], value: { ...(value as JsonObject), added: 'by the schema' }, undeclared: [] }
      },
    },
    catalog: catalogOf(),
    mode: () => 'live',
    ids: createSequentialIds(),
    clock: createFakeClock(),
    ...over,
  })
  const prepare = (wanted: Partial<RunRequest> = {}) =>
    preparer.prepare({
      workflow: 'test/example',
      version: null,
      drafts: false,
      input: {},
      regenerate: {},
      earlier: async () => null,
      pricing: PRICING,
      ...wanted,
    })
  return {
    prepare,
    asked,
    validated,
    templates,
    definition: async (wanted: Partial<RunRequest> = {}) => (await prepare(wanted)).toSlot(WHOLE).definition,
  }
}

const WHOLE = { variantIndex: null, variants: 1 }

describe('a workflow to be run', () => {
  it('is looked for in the version that is wanted, and refused in words that name it', async () => {
    const { prepare } = setup([asking([{ id: 'a' }])])
    expect(await prepare({ version: '2026.01.01' })).toMatchObject({ workflowVersion: '2026.01.01' })
    await expect(prepare({ version: '2020.01.01' })).rejects.toMatchObject({
      code: 'not-found',
      message: 'There is no workflow "test/example" in version 2020.01.01 that this key can run.',
    })
    await expect(prepare({ workflow: 'no/such' })).rejects.toThrow('no workflow "no/such" that this key can run')
  })

  it('runs with its input as the schema completed it, and keeps the input as it was given', async () => {
    const template = asking([{ id: 'a' }], { intakeSchema: { type: 'object', title: 'own' } })
    const { prepare, validated } = setup([template])
    const slot = (await prepare({ input: { prompt: 'a fox' }, regenerate: { direction: 'bolder' } })).toSlot({
      variantIndex: 2,
      variants: 3,
    })
    expect(slot.input).toEqual({ prompt: 'a fox' })
    expect(slot.instance).toEqual({
      intake: { prompt: 'a fox', added: 'by the schema' },
      regenerate: { direction: 'bolder' },
      variantIndex: 2,
      variants: 3,
      priced: [expect.objectContaining({ stepId: 'a', once: { low: 0.25, expected: 0.25, high: 0.25 } })],
    })
    expect(validated).toEqual([[contentHash(template.intakeSchema), template.intakeSchema]])
  })

  it('has its input checked against its own schema, however often it is run', async () => {
    const first = asking([{ id: 'a' }], { intakeSchema: { title: 'first' } })
    const second = asking([{ id: 'a' }], { id: 'test/second', intakeSchema: { title: 'second' } })
    const { prepare, validated } = setup([first, second])
    for (const workflow of [first.id, second.id, first.id]) await prepare({ workflow })
    expect(validated.map(([hash]) => hash)).toEqual([first, second, first].map((one) => contentHash(one.intakeSchema)))
  })

  it('is refused for an input that does not fit, with every problem, before its parent is looked for', async () => {
    const problems = [{ pointer: '/x', detail: 'is bad' }]
    const { prepare } = setup([asking([{ id: 'a' }])], {
      intake: { validate: async (_, __, value) => ({ problems, value, undeclared: [] }) },
    })
    const earlier = async () => {
      throw new Error('was looked for')
    }
    await expect(prepare({ earlier })).rejects.toMatchObject({ code: 'validation-failed', problems })
  })

  it('is refused where a program is missing that its model needs', async () => {
    const missing: PrepareDeps['missing'] = ({ name }) => (name === 'acme/one' ? 'there is no ffmpeg' : null)
    const { prepare } = setup([asking([{ id: 'a' }])], { missing })
    await expect(prepare()).rejects.toMatchObject({ code: 'tool-unavailable' })
  })

  it('warns of wishes that none of its prompts takes up, and of no others', async () => {
    const regenerate = { direction: 'bolder', extra_instructions: 'no text' }
    const warnings = async (prompt: string, wishes: RunRequest['regenerate']) =>
      (await setup([asking([{ id: 'a', prompt }])]).prepare({ regenerate: wishes })).warnings
    expect(await warnings('{intake.direction?}', regenerate)).toEqual([
      expect.stringContaining('regenerate.direction has no effect'),
      expect.stringContaining('regenerate.extra_instructions has no effect'),
    ])
    expect(await warnings('{regenerate.direction?}', regenerate)).toEqual([
      expect.stringContaining('regenerate.extra_instructions has no effect'),
    ])
    expect(await warnings('p', {})).toEqual([])
  })
})

describe('a workflow that calls others', () => {
  const called = asking([{ id: 'x' }, { id: 'y' }], { id: 'test/called', version: '2026.05.05' })
  const older = { ...called, version: '2026.04.04', runtimeSteps: called.runtimeSteps.slice(1) }

  it('is bound to their current versions, and to what a run of each should cost', async () => {
    const { definition, prepare, asked } = setup([asking([calling(called.id)]), called, older])
    const pinned = (await definition({ drafts: true })).subWorkflows?.d
    expect(pinned).toMatchObject({
      workflow: called.id,
      workflowVersion: '2026.05.05',
      intakeSchema: called.intakeSchema,
      simulated: false,
      definition: { templateId: called.id, stepInstructions: called.runtimeSteps },
    })
    expect(pinned?.hash).toBe(contentHash(pinned?.definition))
    expect(asked, 'an admin may call drafts too').toEqual([
      ['test/example', null, true],
      [called.id, null, true],
    ])
    expect((await prepare()).estimate.expected).toBe(0.5)
  })

  it('is bound to the version that its step names', async () => {
    const { definition } = setup([asking([calling(called.id, '2026.04.04')]), called, older])
    expect((await definition()).subWorkflows?.d).toMatchObject({ workflowVersion: '2026.04.04' })
  })

  it('cannot run where one of them cannot', async () => {
    const { prepare } = setup([asking([calling(called.id)])])
    await expect(prepare()).rejects.toMatchObject({
      code: 'not-runnable',
      message: expect.stringContaining('step "d" calls "test/called"'),
    })
  })

  it('may be eight deep, and no deeper', async () => {
    const chain = (length: number) => [
      ...Array.from({ length }, (_, level) => asking([calling(`w/${level + 1}`)], { id: `w/${level}` })),
      asking([{ id: 'a' }], { id: `w/${length}` }),
    ]
    expect(await setup(chain(8)).prepare({ workflow: 'w/0' })).toMatchObject({ estimate: { expected: 0.25 } })
    await expect(setup(chain(9)).prepare({ workflow: 'w/0' })).rejects.toMatchObject({ code: 'not-runnable' })
  })
})

describe('what is compiled', () => {
  it('is compiled once for the same template, prices and calls', async () => {
    const { definition } = setup([asking([{ id: 'a' }])])
    expect(await definition({ input: { prompt: 'an owl' } })).toBe(await definition({ input: { prompt: 'a fox' } }))
  })

  it('is compiled anew for other prices', async () => {
    const { definition } = setup([asking([{ id: 'a' }])])
    const before = await definition()
    const pricing = { ...PRICING, version: '2026.02.02', rates: [{ ...PRICING.rates[0], unit_price_usd: 1 }] }
    expect(await definition({ pricing: pricing as RateTable })).toMatchObject({
      pricingVersion: '2026.02.02',
      rates: [{ unit_price_usd: 1 }],
    })
    expect(await definition()).toBe(before)
  })

  it('takes along the prices of what may be served in the place of a text model that is live', async () => {
    const one = PRICING.rates[0]
    const rates = ['acme/one', 'acme/two', 'other/three'].map((model) => ({ ...one, model }))
    const modelsFor = async (mode: 'live' | 'simulated') => {
      const { definition } = setup([asking([{ id: 'a' }])], { mode: () => mode })
      return (await definition({ pricing: { ...PRICING, rates } as RateTable })).rates.map(({ model }) => model)
    }
    expect(await modelsFor('live')).toEqual(['acme/one', 'acme/two'])
    expect(await modelsFor('simulated')).toEqual(['acme/one'])
  })

  it('leaves out a model from the day after its end, and refuses a step that has no other', async () => {
    const clock = createFakeClock(Date.UTC(2026, 0, 1, 23, 59))
    const providers = { writer: ['acme/one', 'acme/two'] }
    const alone = setup([asking([{ id: 'a' }])], { clock })
    const listed = setup([asking([{ id: 'a', model: undefined, provider: 'writer' }], { providers })], { clock })
    const models = [
      { model: 'acme/one', capability: 'text', until: '2026-01-01', successor: 'acme/two', assumed: true },
    ]
    const pricing = { ...PRICING, models } as RateTable
    const modelsOf = async ({ definition }: typeof alone) =>
      (await definition({ pricing })).providerBindings.a?.models.map(({ model }) => model)
    expect(await modelsOf(alone)).toEqual(['acme/one'])
    expect(await modelsOf(listed)).toEqual(['acme/one', 'acme/two'])
    clock.advance(60_000)
    expect(await modelsOf(listed)).toEqual(['acme/two'])
    await expect(alone.prepare({ pricing })).rejects.toMatchObject({
      code: 'model-retired',
      message: expect.stringContaining('"acme/one" ended on 2026-01-01; its successor is "acme/two"'),
    })
  })

  it('binds a model with the time that its row gives it for a request', async () => {
    const { definition } = setup([asking([{ id: 'a' }])])
    const models = [{ model: 'acme/one', capability: 'text', time_limit_s: 90, assumed: true }]
    expect((await definition()).providerBindings.a?.models[0]).not.toHaveProperty('timeLimitMs')
    const bound = (await definition({ pricing: { ...PRICING, version: '2026.02.03', models } as RateTable }))
      .providerBindings
    expect(bound.a?.models).toMatchObject([{ model: 'acme/one', timeLimitMs: 90_000 }])
  })

  it('is compiled anew for steps that were edited under the same version', async () => {
    const { definition, templates } = setup([asking([{ id: 'a' }])])
    await definition()
    templates[0] = asking([{ id: 'b' }])
    expect((await definition()).stepInstructions).toMatchObject([{ id: 'b' }])
  })

  it('is compiled anew for another version of what it calls', async () => {
    const called = asking([{ id: 'x' }], { id: 'test/called' })
    const { definition, templates } = setup([asking([calling('test/called')]), called])
    const before = await definition()
    templates[1] = { ...called, version: '2026.09.09' }
    expect((await definition()).subWorkflows?.d?.workflowVersion).toBe('2026.09.09')
    templates[1] = called
    expect(await definition()).toBe(before)
  })

  it('is compiled anew for an intake that chooses another model', async () => {
    const lookups = { style: { from: 'intake.style', map: { dear: 'acme/two' }, default: 'acme/one' } }
    const { definition } = setup([asking([{ id: 'a', model: '{lookup.style}', lookups }])])
    const modelFor = async (input: JsonObject) => (await definition({ input })).providerBindings.a?.models[0]?.model
    expect([await modelFor({}), await modelFor({ style: 'dear' }), await modelFor({})]).toEqual([
      'acme/one',
      'acme/two',
      'acme/one',
    ])
  })

  it('is kept for 500 at a time: the least recently used one makes room', async () => {
    const versions = Array.from({ length: 501 }, (_, n) => asking([{ id: 'a' }], { version: `v${n}` }))
    const { definition } = setup(versions)
    const first = await definition({ version: 'v0' })
    const second = await definition({ version: 'v1' })
    for (const { version } of versions.slice(2, 500)) await definition({ version })
    expect(await definition({ version: 'v0' })).toBe(first)
    await definition({ version: 'v500' })
    expect(await definition({ version: 'v0' }), 'only one made room').toBe(first)
    expect(await definition({ version: 'v1' })).not.toBe(second)
  })
})

describe('an estimate', () => {
  /** A provider that charges as many requests as its prompt says. */
  const metered = () => {
    const catalog = createTestCatalog()
    const ask = catalog.kind('ask')
    if (ask === undefined) throw new Error('the test catalog has no "ask"')
    return createCatalog({
      kinds: [ask],
      tools: [],
      gates: [],
      providers: [
        {
          name: 'acme',
          model: (name) => catalog.model(name),
          expectedUsage: (_, { prompt }) => [{ unit: 'request', quantity: Number(prompt) || 1 }],
        },
      ],
    })
  }

  it.each<[string, Partial<Step>, JsonObject, number]>([
    ['a parameter that the intake gives', { prompt: '{intake.n}', params: { n: '{intake.n}' } }, { n: '4' }, 1],
    [
      'a parameter that the intake chooses',
      {
        prompt: '{lookup.size}',
        params: { n: '{lookup.size}' },
        lookups: { size: { from: 'intake.size', map: { big: '8' }, default: '2' } },
      },
      { size: 'big' },
      2,
    ],
    ['nothing of the intake', { prompt: '3' }, { n: '4' }, 0.75],
  ])('goes by %s', async (_, step, input, expected) => {
    const { prepare } = setup([asking([{ id: 'a', ...step }])], { catalog: metered() })
    expect((await prepare({ input })).estimate.expected).toBe(expected)
  })

  it('goes by a list that the intake gives', async () => {
    const { prepare } = setup([asking([{ id: 'a', forEach: { items: '{intake.list}' } }])])
    expect((await prepare({ input: { list: [1, 2, 3] } })).estimate).toEqual({ low: 0.75, expected: 0.75, high: 0.75 })
  })
})

describe('what is kept of an earlier run', () => {
  const STEPS = asking([{ id: 'a' }, { id: 'b', prompt: '{steps.a.output.text}' }])
  const EARLIER: EarlierRun = {
    workflow: STEPS.id,
    checkpoints: [aCheckpoint('a', { output: { artifact: 'old' } }), aCheckpoint('b')],
    artifacts: [anArtifact('old', { stepKey: 'a' })],
  }

  it('is neither paid nor run, and copied under new ids for every slot', async () => {
    const { prepare } = setup([STEPS])
    const prepared = await prepare({ regenerate: { keep: ['a'] }, earlier: async () => EARLIER })
    expect(prepared).toMatchObject({ estimate: { expected: 0.25 }, steps: [{ plan: 'reused' }, { plan: 'paid' }] })
    const slots = [prepared.toSlot(WHOLE), prepared.toSlot(WHOLE)]
    for (const { instance, inherited } of slots) {
      expect(instance.inherited).toBe(true)
      expect(inherited?.checkpoints.map(({ key, attempt }) => [key, attempt])).toEqual([['a', 0]])
    }
    const ids = slots.flatMap(({ id, inherited }) => [id, ...(inherited?.artifacts ?? []).map((file) => file.id)])
    expect(new Set([...ids, 'old']).size).toBe(5)
  })

  it.each<[string, string[] | undefined, EarlierRun | null]>([
    ['nothing is to be kept', undefined, EARLIER],
    ['nothing of it is there', ['a'], null],
  ])('is nothing where %s', async (_, keep, earlier) => {
    const { prepare } = setup([STEPS])
    const regenerate = keep === undefined ? {} : { keep }
    const prepared = await prepare({ regenerate, earlier: async () => earlier })
    const { instance, inherited } = prepared.toSlot(WHOLE)
    expect([inherited, Object.hasOwn(instance, 'inherited'), prepared.estimate.expected]).toEqual([null, false, 0.5])
  })
})

describe('a budget', () => {
  const usd = (expected: number): Estimate => ({ low: expected, expected, high: expected })

  it('of a run is broken by what is above it', () => {
    const definition = aDefinition({ budgetPolicy: { maxPerRunUsd: 0.5 } })
    expect(() => checkRun(definition, usd(0.5))).not.toThrow()
    expect(() => checkRun(definition, usd(0.51))).toThrow('over the template')
    expect(() => checkRun(aDefinition(), usd(1_000))).not.toThrow()
  })

  it('of a day is for all runs of a workflow together, and for each workflow by itself', async () => {
    const run = (workflow: string, expected: number, maxPerDayUsd?: number) => ({
      workflow,
      estimate: usd(expected),
      maxPerDayUsd,
    })
    const spent = async (_: string, workflow: string) => (workflow === 'w/one' ? 0.1 : 0)
    const check = (...runs: ReturnType<typeof run>[]) => checkDay({ spentToday: spent }, 'system', runs)
    await expect(check(run('w/one', 0.2, 0.3), run('w/two', 0.3, 0.3), run('w/free', 99))).resolves.toBeUndefined()
    await expect(check(run('w/two', 0.2, 0.3), run('w/two', 0.2, 0.3))).rejects.toMatchObject({
      code: 'budget-exceeded',
      message: expect.stringContaining('"w/two"'),
    })
    await expect(check(run('w/free', 1), run('w/one', 0.21, 0.3))).rejects.toThrow('$0.1 is spent')
  })
})
