import {
  objectOf,
  type JsonObject,
  type JsonValue,
  type Rate,
  type Step,
  type Template,
  textOf,
} from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { createCatalog } from '../catalog.ts'
import { compile } from './compile.ts'
import { estimateSteps, sumOf } from './estimate.ts'
import { forecast } from './forecast.ts'
import type { Definition, SubWorkflow } from '../specification.ts'
import { aDefinition, aTemplate } from '../testing/factories.ts'
import { asking, createTestCatalog, pinned } from '../testing/test-engine.ts'

const RATES: Rate[] = [
  { model: 'acme/one', unit: 'request', unit_price_usd: 0.1, assumed: true },
  { model: 'acme/two', unit: 'request', unit_price_usd: 0.5, assumed: true },
]
const PRICING = { version: '2026.01.01', currency: 'USD' as const, rates: RATES }

function ofSteps(steps: (Partial<Step> & { id: string })[], over: Partial<Template> = {}): Template {
  return aTemplate({
    runtimeSteps: steps.map(
      (step): Step => ({
        kind: 'ask',
        prompt: 'p',
        ...(step.provider === undefined ? { model: 'acme/one' } : {}),
        ...step,
      }),
    ),
    providers: { main: ['acme/one', 'acme/two'] },
    ...over,
  })
}

function estimate(
  template: Template,
  options: { intake?: JsonObject; subWorkflows?: Record<string, SubWorkflow>; reused?: string[]; rates?: Rate[] } = {},
) {
  const { intake = {}, subWorkflows = {}, reused = [], rates = RATES } = options
  const { definition } = compile(template, {
    catalog: createTestCatalog(),
    pricing: { ...PRICING, rates },
    mode: () => 'live',
    retired: new Map(),
    subWorkflows: new Map(Object.entries(subWorkflows)),
    intake,
  })
  const priced = forecast(createTestCatalog(), definition, { intake, regenerate: {} })
  const steps = estimateSteps(priced, new Set(reused))
  const byId = Object.fromEntries(steps.map(({ step, low, expected, high }) => [step, [low, expected, high]]))
  return { definition, steps, byId, ...sumOf(steps) }
}

/** Costs a quarter, and three at most. */
const CALLED = pinned(aDefinition(asking([{ id: 'x', retry: { maxAttempts: 3, backoffMs: 0, on: ['bad_output'] } }])))

describe('an estimate', () => {
  it('is the sum of what the steps cost, and says what each is', () => {
    const { steps, low, expected, high } = estimate(
      ofSteps([{ id: 'a' }, { id: 'b', kind: 'note', text: 't' }, { id: 'c' }]),
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
    expect(estimate(ofSteps([{ id: 'a' }, { id: 'b' }, { id: 'c' }])).expected).toBe(0.3)
  })

  it('takes the first model as likely, and the dearest fallback as the most', () => {
    expect(estimate(ofSteps([{ id: 'a', provider: 'main' }])).byId.a).toEqual([0.1, 0.1, 0.5])
  })

  it('may be nothing for a step with a condition, and for whatever is skipped with it', () => {
    const { byId } = estimate(
      ofSteps([
        { id: 'before', kind: 'note', text: 'on' },
        { id: 'a', when: 'steps.before.output.text == "on"' },
        { id: 'b', prompt: '{steps.a.output.text}' },
        { id: 'c', needs: ['b'] },
        { id: 'd', prompt: '{steps.a.output.text?}' },
      ]),
    )
    expect(byId).toEqual({
      before: [0, 0, 0],
      a: [0, 0.1, 0.1],
      b: [0, 0.1, 0.1],
      c: [0, 0.1, 0.1],
      d: [0.1, 0.1, 0.1],
    })
  })

  it('goes by the bounds of a called workflow, as often as it is called', () => {
    const call = { id: 'd', kind: 'call', prompt: undefined, model: undefined, input: {} }
    expect(estimate(ofSteps([call]), { subWorkflows: { d: CALLED } }).byId.d).toEqual([0.25, 0.25, 0.75])
    const list = ofSteps([{ ...call, forEach: { items: ['x', 'y'] } }])
    expect(estimate(list, { subWorkflows: { d: CALLED } }).byId.d).toEqual([0.5, 0.5, 1.5])
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
    const { byId } = estimate(ofSteps([...before, { id: 'a', forEach: forEach as Step['forEach'] }]), { intake })
    expect(byId.a).toEqual(times.map((n) => Math.round(n * 0.1 * 1e12) / 1e12))
  })

  it('never has its bounds the wrong way round', () => {
    const bounds = [undefined, 0, 1, 3, 5, 19, 20, 21, 200]
    for (const minItems of bounds) {
      for (const maxItems of bounds) {
        if (minItems !== undefined && maxItems !== undefined && minItems > maxItems) continue
        const schema = JSON.parse(JSON.stringify({ minItems, maxItems })) as JsonObject
        const [low = 0, expected = 0, high = 0] =
          estimate(ofSteps([planned(schema), { id: 'a', forEach: FROM_PLAN }])).byId.a ?? []
        expect(low, JSON.stringify(schema)).toBeLessThanOrEqual(expected)
        expect(expected, JSON.stringify(schema)).toBeLessThanOrEqual(high)
      }
    }
  })

  it('is refused where the input fills the steps with gigabytes, before they are imagined', () => {
    const steps = Array.from({ length: 40 }, (_, index) => ({
      id: `s${index}`,
      kind: 'note',
      text: Array(2).fill(index === 0 ? '{intake.text}' : `{steps.s${index - 1}.output.text}`) as JsonValue,
    }))
    const prompts = [{ id: 'ask', forEach: '{intake.list}', prompt: '{intake.text} {intake.text}' }]
    const intake = { text: 'x'.repeat(900_000), list: Array(200).fill(1) as JsonValue }
    for (const asked of [steps, prompts])
      expect(() => estimate(ofSteps(asked), { intake })).toThrow(
        expect.objectContaining({ problems: [expect.objectContaining({ code: 'run-too-large' })] }),
      )
  })

  it('of lists that are made from each other is that of a list that nobody bounds', () => {
    const template = ofSteps([
      { id: 'a', forEach: '{steps.b.output}' },
      { id: 'b', kind: 'note', forEach: '{steps.a.output}' },
    ])
    expect(estimate(template).byId.a).toEqual([0.1, 0.5, 2])
  })

  it('cannot be made where a model, or a fallback, has no price; a price of 0 is one', () => {
    const template = ofSteps([{ id: 'a', provider: 'main' }])
    expect(() => estimate(template, { rates: [] })).toThrow('no rate for step "a"')
    expect(() => estimate(template, { rates: RATES.slice(0, 1) })).toThrow('no rate for step "a"')
    const free = RATES.map((rate) => ({ ...rate, unit_price_usd: 0 }))
    expect(estimate(template, { rates: free }).byId.a).toEqual([0, 0, 0])
  })

  it('counts a step again for each attempt that its retries may pay for, at its highest only', () => {
    const retry = { maxAttempts: 4, backoffMs: 0 }
    const { byId } = estimate(
      ofSteps([
        { id: 'a', retry },
        { id: 'b', retry: { ...retry, on: ['server', 'bad_output'] } },
      ]),
    )
    expect(byId).toEqual({ a: [0.1, 0.1, 0.1], b: [0.1, 0.1, 0.4] })
  })
})

describe('a forecast', () => {
  /** `write` asks a model for a text, `use` gives one arguments; a cent for each character, letter said, and second. */
  const base = { outputKeys: () => null, run: async () => null } as const
  const catalog = createCatalog({
    kinds: [
      {
        ...base,
        kind: 'write',
        fields: z.unknown(),
        renders: [{ field: 'prompt', as: 'text' }],
        capability: () => ['text'],
        expects: (fields) => fields as JsonObject,
      },
      {
        ...base,
        kind: 'use',
        fields: z.unknown(),
        renders: [{ field: 'args', as: 'value' }],
        capability: () => ['speech', 'video'],
        expects: ({ args }) => ({ args: args as JsonObject }),
      },
      {
        ...base,
        kind: 'call',
        fields: z.unknown(),
        renders: [{ field: 'input', as: 'value' }],
        capability: () => null,
        expects: () => ({}),
      },
    ],
    tools: [],
    gates: [{ type: 'assert', name: 'assert', stands: 'condition', expression: (gate) => textOf(gate.assert) }],
    providers: [
      {
        name: 'acme',
        model(name) {
          const capability = name.endsWith('film') ? 'video' : name.endsWith('voice') ? 'speech' : 'text'
          return { name, provider: 'acme', capability, endpoint: name, operation: 'make' }
        },
        expectedUsage({ capability }, { args }, outlook) {
          const asked = objectOf(args)
          if (capability === 'text') return [{ unit: 'output_token', quantity: outlook?.answer.length ?? 0 }]
          if (capability === 'speech') return [{ unit: 'character', quantity: textOf(asked.text).length }]
          const seconds = (outlook?.files[0]?.durationMs ?? Number.NaN) / 1000
          return [{ unit: 'second', quantity: Number(asked.seconds ?? seconds) }]
        },
      },
    ],
  })
  const rates = (['output_token', 'character', 'second'] as const).flatMap((unit) =>
    ['acme/text', 'acme/voice', 'acme/film'].map(
      (model): Rate => ({ model, unit, unit_price_usd: 0.01, assumed: true }),
    ),
  )
  const model = (name: string) => ({
    models: [{ model: `acme/${name}`, provider: 'acme', endpoint: name, simulated: false }],
  })
  const SCRIPT = { type: 'object', properties: { script: { type: 'string', maxLength: 1000 } } }
  /** A text that is written, said and filmed. */
  const filming = (prompt: string, over: Partial<Definition> = {}): Definition =>
    aDefinition({
      stepInstructions: [
        { id: 'text', kind: 'write', prompt, outputSchema: SCRIPT },
        { id: 'voice', kind: 'use', args: { text: '{steps.text.output.json.script}' } },
        { id: 'film', kind: 'use', args: { sound: '{steps.voice.output.artifact}' } },
      ],
      providerBindings: { text: model('text'), voice: model('voice'), film: model('film') },
      rates,
      ...over,
    })
  /** Cents. */
  const costs = (definition: Definition, intake: JsonObject = {}) =>
    Object.fromEntries(
      estimateSteps(forecast(catalog, definition, { intake, regenerate: {} }), new Set()).map(
        ({ step, low, expected, high }) => [step, [low, expected, high].map((usd) => Math.round(usd * 100))],
      ),
    )

  it('has a film as long as it takes to say the words that a prompt asks for, in words or seconds', () => {
    expect(costs(filming('Write 50 words.')).film?.[1]).toBe(20)
    expect(costs(filming('Write a text of {intake.secs} seconds.'), { secs: 30 }).film?.[1]).toBe(30)
    const [, letters = 0] = costs(filming('Write 50 words.')).voice ?? []
    expect(letters / 50).toBeGreaterThan(5)
    expect(letters / 50).toBeLessThan(6)
  })

  it('has a film as long as a text that is given, whatever its length', () => {
    const given = filming('Write.', {
      stepInstructions: [
        { id: 'voice', kind: 'use', args: { text: '{intake.script}' } },
        { id: 'film', kind: 'use', args: { sound: '{steps.voice.output.artifact}' } },
      ],
    })
    expect(costs(given, { script: 'five '.repeat(25).trim() })).toEqual({ voice: [124, 124, 124], film: [8, 10, 12] })
  })

  it('goes at its highest as far as the conditions of the template let it', () => {
    const { film: free = [] } = costs(filming('Write 50 words.'))
    const gate = { id: 'g', name: 'g', type: 'assert', after: 'text' }
    const assert = 'size(steps.text.output.json.script) <= intake.most'
    const capped = filming('Write 50 words.', { gates: [{ ...gate, assert }] })
    expect(free[2]).toBeGreaterThan(70)
    const { text = [], film = [] } = costs(capped, { most: 400 })
    expect(film[2]).toBeLessThanOrEqual(36)
    expect(film[2]).toBeGreaterThan(33)
    expect(text[2]).toBeLessThanOrEqual(415)
    const broken = filming('Write 50 words.', { gates: [{ ...gate, assert: 'intake.no' }] })
    expect(costs(broken).film).toEqual(free)
  })

  it('adds up the items of a list that is given, each by its own', () => {
    const said = filming('Write.', {
      stepInstructions: [{ id: 'voice', kind: 'use', forEach: '{intake.lines}', args: { text: '{item}' } }],
    })
    expect(costs(said, { lines: ['four', 'sevenxx', 'x'] }).voice).toEqual([12, 12, 12])
  })

  it('leaves out what a condition on the intake rules out, with all that needs it', () => {
    const steps = filming('Write 50 words.').stepInstructions
    const [text, ...others] = steps as [Step, ...Step[]]
    const definition = filming('', { stepInstructions: [{ ...text, when: '!has(intake.given)' }, ...others] })
    expect(costs(definition, { given: 'x' })).toEqual({ text: [0, 0, 0], voice: [0, 0, 0], film: [0, 0, 0] })
    expect(costs(definition).film?.[0]).toBeGreaterThan(0)
  })

  it('has a called workflow with the input that it is given, completed by its defaults', () => {
    const called = { ...pinned(filming('Write {intake.secs} seconds.')), intakeSchema: {} as JsonObject }
    called.intakeSchema = { type: 'object', properties: { secs: { type: 'integer', default: 40 } } }
    const calling = (input: JsonObject) =>
      aDefinition({ stepInstructions: [{ id: 'd', kind: 'call', input }], subWorkflows: { d: called }, rates })
    const [, forty = 0] = costs(calling({})).d ?? []
    const [, twenty = 0] = costs(calling({ secs: '{intake.secs}' }), { secs: 20 }).d ?? []
    expect([twenty / forty]).toEqual([expect.closeTo(0.5, 1)])
    expect(forty).toBe(
      (costs(called.definition, { secs: 40 }).text?.[1] as number) +
        (costs(called.definition, { secs: 40 }).voice?.[1] as number) +
        40,
    )
  })

  it('refuses an amount that no request can have, naming the step', () => {
    const definition = filming('', {
      stepInstructions: [{ id: 'film', kind: 'use', args: { seconds: '{intake.seconds}' } }],
    })
    for (const seconds of [-5, 'x', 1e300]) {
      expect(() => costs(definition, { seconds })).toThrow(
        expect.objectContaining({ code: 'validation-failed', message: expect.stringContaining('step "film"') }),
      )
    }
  })

  it('is of an answer that names its lists, however long they are and whatever they hold', () => {
    const schema = {
      type: 'object',
      properties: { scenes: { type: 'array', maxItems: 9, items: { type: 'object', properties: SCRIPT.properties } } },
    }
    const definition = filming('', {
      stepInstructions: [
        { id: 'text', kind: 'write', prompt: 'Write exactly {intake.n} scenes of 10 words.', outputSchema: schema },
        { id: 'voice', kind: 'use', forEach: '{steps.text.output.json.scenes}', args: { text: '{item.script}' } },
      ],
    })
    const [low = 0, expected = 0, high = 0] = costs(definition, { n: 4 }).voice ?? []
    expect(expected).toBe(4 * 54)
    expect(low).toBeLessThan(expected)
    expect(high).toBe(9 * 1000)
  })
})

describe('a model by lookup', () => {
  const template = ofSteps([
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
    expect(expected).toBe(price)
  })
})
