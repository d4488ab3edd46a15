import type { JsonObject, JsonValue, Rate, Step, Template } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { createCatalog } from '../catalog.ts'
import { compile } from './compile.ts'
import { estimateSteps, itemsOf, priceCall, sumOf } from './estimate.ts'
import { runScope } from './placeholders.ts'
import type { SubWorkflow } from '../specification.ts'
import { aDefinition } from '../testing/factories.ts'
import { asking, createTestCatalog, pinned } from '../testing/test-engine.ts'

const RATES: Rate[] = [
  { model: 'acme/one', unit: 'request', unit_price_usd: 0.1, assumed: true },
  { model: 'acme/two', unit: 'request', unit_price_usd: 0.5, assumed: true },
]
const PRICING = { version: '2026.01.01', currency: 'USD' as const, rates: RATES }

function aTemplate(steps: (Partial<Step> & { id: string })[], over: Partial<Template> = {}): Template {
  return {
    id: 'test/example',
    name: 'Example',
    cadence: 'On demand',
    version: '2026.01.01',
    artifactClass: 'visual',
    schemaVersion: 'workflow-schema-v1',
    intakeSchema: { type: 'object' },
    runtimeSteps: steps.map(
      (step): Step => ({
        kind: 'ask',
        prompt: 'p',
        ...(step.provider === undefined ? { model: 'acme/one' } : {}),
        ...step,
      }),
    ),
    providers: { main: ['acme/one', 'acme/two'] },
    gates: [],
    budgetPolicy: {},
    artifactSchema: { artifactType: 'example', files: [] },
    ...over,
  }
}

function estimate(
  template: Template,
  options: { intake?: JsonObject; subWorkflows?: Record<string, SubWorkflow>; reused?: string[] } = {},
) {
  const { intake = {}, subWorkflows = {}, reused = [] } = options
  const { definition } = compile(template, {
    catalog: createTestCatalog(),
    pricing: PRICING,
    mode: () => 'live',
    retired: new Map(),
    subWorkflows: new Map(Object.entries(subWorkflows)),
    intake,
  })
  const instance = { intake, regenerate: {}, variantIndex: null, variants: 1 }
  const scope = runScope({ id: '', workflow: '', organizationId: '', instance }, {}, {})
  const steps = estimateSteps(definition.priced, scope, new Set(reused))
  const byId = Object.fromEntries(steps.map(({ step, low, expected, high }) => [step, [low, expected, high]]))
  return { definition, steps, byId, ...sumOf(steps) }
}

const CALLED = pinned(aDefinition(asking([{ id: 'x' }])), { low: 0.2, expected: 0.4, high: 0.8 })

describe('an estimate', () => {
  it('is the sum of what the steps cost, and says what each is', () => {
    const { steps, low, expected, high } = estimate(
      aTemplate([{ id: 'a' }, { id: 'b', kind: 'note', text: 't' }, { id: 'c' }]),
      {
        reused: ['c'],
      },
    )
    expect(steps.map(({ step, plan }) => [step, plan])).toEqual([
      ['a', 'paid'],
      ['b', 'free'],
      ['c', 'reused'],
    ])
    expect([low, expected, high]).toEqual([0.1, 0.1, 0.1])
  })

  it('adds up in decimal numbers', () => {
    expect(estimate(aTemplate([{ id: 'a' }, { id: 'b' }, { id: 'c' }])).expected).toBe(0.3)
  })

  it('takes the first model as likely, and the dearest fallback as the most', () => {
    expect(estimate(aTemplate([{ id: 'a', provider: 'main' }])).byId.a).toEqual([0.1, 0.1, 0.5])
  })

  it('may be nothing for a step with a condition, and for whatever is skipped with it', () => {
    const { byId } = estimate(
      aTemplate([
        { id: 'a', when: 'intake.on' },
        { id: 'b', prompt: '{steps.a.output.text}' },
        { id: 'c', needs: ['b'] },
        { id: 'd', prompt: '{steps.a.output.text?}' },
      ]),
    )
    expect(byId).toEqual({ a: [0, 0.1, 0.1], b: [0, 0.1, 0.1], c: [0, 0.1, 0.1], d: [0.1, 0.1, 0.1] })
  })

  it('goes by the bounds of a called workflow, as often as it is called', () => {
    const call = { id: 'd', kind: 'call', prompt: undefined, model: undefined, input: {} }
    expect(estimate(aTemplate([call]), { subWorkflows: { d: CALLED } }).byId.d).toEqual([0.2, 0.4, 0.8])
    const list = aTemplate([{ ...call, forEach: { items: ['x', 'y'] } }])
    expect(estimate(list, { subWorkflows: { d: CALLED } }).byId.d).toEqual([0.4, 0.8, 1.6])
  })

  const planned = (sections: JsonObject): Partial<Step> & { id: string } => ({
    id: 'plan',
    kind: 'note',
    outputSchema: { type: 'object', properties: { sections: { type: 'array', ...sections } } },
  })
  const FROM_PLAN = '{steps.plan.output.json.sections}'

  it.each<[string, JsonValue, (Partial<Step> & { id: string })[], JsonObject, number[]]>([
    ['as it is written', { items: ['x', 'y', 'z'] }, [], {}, [3, 3, 3]],
    ['as it was given', '{intake.list}', [], { list: [1, 2] }, [2, 2, 2]],
    ['that is empty', '{intake.list}', [], { list: [] }, [0, 0, 0]],
    ['with bounds', FROM_PLAN, [planned({ minItems: 2, maxItems: 6 })], {}, [2, 4, 6]],
    ['with a lower bound above the usual', FROM_PLAN, [planned({ minItems: 30 })], {}, [30, 30, 30]],
    ['with an upper bound below the usual', FROM_PLAN, [planned({ maxItems: 3 })], {}, [1, 2, 3]],
    ['that must be empty', FROM_PLAN, [planned({ maxItems: 0 })], {}, [0, 0, 0]],
    ['that nobody bounds', FROM_PLAN, [{ id: 'plan', kind: 'note' }], {}, [1, 5, 20]],
    ['that was not given', '{intake.list}', [], {}, [1, 5, 20]],
    ['as an object', { items: ['x', 'y'], concurrency: 1 }, [], {}, [2, 2, 2]],
    [
      'of another list',
      '{steps.first.output}',
      [{ id: 'first', kind: 'note', text: '{item}', forEach: '{intake.list}' }],
      { list: Array.from({ length: 40 }, () => 1) },
      [40, 40, 40],
    ],
  ])('is as long as its list %s', (_, forEach, before, intake, times) => {
    const { byId } = estimate(aTemplate([...before, { id: 'a', forEach: forEach as Step['forEach'] }]), { intake })
    expect(byId.a).toEqual(times.map((n) => Math.round(n * 0.1 * 1e12) / 1e12))
  })

  it('never has its bounds the wrong way round', () => {
    const bounds = [undefined, 0, 1, 3, 5, 19, 20, 21, 200]
    for (const minItems of bounds) {
      for (const maxItems of bounds) {
        if (minItems !== undefined && maxItems !== undefined && minItems > maxItems) continue
        const schema = JSON.parse(JSON.stringify({ minItems, maxItems })) as JsonObject
        const template = aTemplate([planned(schema), { id: 'a', forEach: FROM_PLAN }])
        const likely = itemsOf(template.runtimeSteps[1] as Step, template)?.likely
        expect(likely?.low, JSON.stringify(schema)).toBeLessThanOrEqual(likely?.expected ?? -1)
        expect(likely?.expected, JSON.stringify(schema)).toBeLessThanOrEqual(likely?.high ?? -1)
      }
    }
  })

  it('of lists that are made from each other is that of a list that nobody bounds', () => {
    const template = aTemplate([
      { id: 'a', kind: 'note', forEach: '{steps.b.output}' },
      { id: 'b', kind: 'note', forEach: '{steps.a.output}' },
    ])
    expect(itemsOf(template.runtimeSteps[0] as Step, template)?.likely).toEqual({ low: 1, expected: 5, high: 20 })
  })

  it('is none where a model has no price, and nothing where its price is 0', () => {
    expect(priceCall(createTestCatalog(), [], [{ model: 'acme/one' }], {})).toBeNull()
    expect(
      priceCall(createTestCatalog(), RATES.slice(0, 1), [{ model: 'acme/one' }, { model: 'acme/two' }], {}),
    ).toBeNull()
    expect(
      priceCall(createTestCatalog(), [{ ...(RATES[0] as Rate), unit_price_usd: 0 }], [{ model: 'acme/one' }], {}),
    ).toEqual({
      low: 0,
      expected: 0,
      high: 0,
    })
  })

  it('spreads as far as a provider says that its usage does', () => {
    const spread = createCatalog({
      kinds: [],
      tools: [],
      gates: [],
      providers: [
        {
          name: 'acme',
          model: (name) => ({ name, provider: 'acme', capability: 'text', endpoint: name, operation: 'make' }),
          expectedUsage: () => [{ unit: 'request', quantity: 2 }],
          usageRange: () => ({ low: [{ unit: 'request', quantity: 1 }], high: [{ unit: 'request', quantity: 4 }] }),
        },
      ],
    })
    expect(priceCall(spread, RATES, [{ model: 'acme/one' }], {})).toEqual({ low: 0.1, expected: 0.2, high: 0.4 })
  })
})

describe('a model by lookup', () => {
  const template = aTemplate([
    {
      id: 'a',
      model: '{lookup.model}',
      lookups: { model: { from: 'intake.quality', map: { best: 'acme/two' }, default: 'acme/one' } },
    },
  ])

  it.each<[JsonObject, string, number]>([
    [{ quality: 'best' }, 'acme/two', 0.5],
    [{ quality: 'any' }, 'acme/one', 0.1],
    [{}, 'acme/one', 0.1],
    [{ quality: 'constructor' }, 'acme/one', 0.1],
    [{ quality: 'best', model: 'acme/nine' }, 'acme/two', 0.5],
  ])('for %j is %s at $%d', (intake, model, price) => {
    const { definition, expected } = estimate(template, { intake })
    expect(definition.providerBindings.a?.models.map((one) => one.model)).toEqual([model])
    expect(definition.rates.map((rate) => rate.model)).toEqual([model])
    expect(expected).toBe(price)
  })
})
