import { readFile } from 'node:fs/promises'
import { adviseOn, checkTemplate, TEMPLATE_PROBLEMS, TEMPLATE_WARNINGS } from '@fabrique/engine'
import { createFakeClock } from '@fabrique/engine/testing'
import { createIntakeSchemas } from '@fabrique/intake'
import {
  isJsonObject,
  type JsonObject,
  type JsonValue,
  type ModelRow,
  normalizeTemplate,
  type Problem,
  type Rate,
  textOf,
} from '@fabrique/schema'
import { createStandardCatalog } from '@fabrique/steps'
import { readShippedDocuments } from '@fabrique/templates'
import { afterAll, describe, expect, it } from 'vitest'

const catalog = createStandardCatalog()
const intake = createIntakeSchemas()
afterAll(() => intake.close())
const shipped = await readShippedDocuments()
const clipArt = shipped.templates.find(({ id }) => id === 'generate-clip-art-asset') as JsonObject

/** One model that ends on the day of the check, one that ended the day before. */
const MODELS: ModelRow[] = [
  { model: 'openai/last-day', capability: 'text', until: '2026-11-28', successor: 'openai/next', assumed: true },
  {
    model: 'openai/gpt-image-0',
    capability: 'image',
    until: '2025-01-01',
    successor: 'openai/gpt-image-2',
    assumed: true,
  },
  { model: 'openai/gone', capability: 'text', until: '2026-11-27', successor: 'openai/next', assumed: true },
]

async function check(
  document: JsonObject,
  rates: readonly Rate[] = shipped.pricing.rates,
  listed = new Map<string, JsonObject>(),
) {
  return await checkTemplate(normalizeTemplate(document), {
    catalog,
    pricing: { current: async () => ({ rates, models: [...(shipped.pricing.models ?? []), ...MODELS] }) },
    clock: createFakeClock(Date.UTC(2026, 10, 28)),
    templates: { listed: async (ids) => new Map([...listed].filter(([id]) => ids.includes(id))) },
    intake,
  })
}

const advise = (document: JsonObject) =>
  adviseOn(normalizeTemplate(document), { catalog, pricing: { current: async () => shipped.pricing } })

/** A copy of the clip-art template with one thing changed. */
function changed(change: (document: JsonObject, steps: JsonObject[]) => void): JsonObject {
  const copy = structuredClone(clipArt)
  change(copy, copy.runtimeSteps as JsonObject[])
  return copy
}

const step = (steps: JsonObject[], id: string): JsonObject => steps.find((one) => one.id === id) as JsonObject
const call = (workflow: string): JsonObject => ({ id: 'sub', kind: 'workflow', workflow, input: {} })

const telling = (outputSchema: JsonObject): JsonObject => ({
  id: 'tell',
  kind: 'llm',
  model: 'openai/gpt-5-mini',
  promptTemplate: 'Tell.',
  outputSchema,
})

/** The smallest template with one step, which is given this. */
const only = (step: JsonObject, over: JsonObject = {}): JsonObject =>
  changed((document) => {
    document.runtimeSteps = [{ id: 'a', ...step }]
    document.artifactSchema = { artifactType: 'example', files: [] }
    Object.assign(document, { outputAliases: {}, budgetPolicy: 'none', gates: [] }, over)
  })
const text = (model: string, params: JsonObject, over: JsonObject = {}): JsonObject =>
  only({ kind: 'llm', model, promptTemplate: 'Tell.', params, ...over })
const picture = (model: string, params: JsonObject): JsonObject =>
  only({ kind: 'image', model, promptTemplate: '{intake.prompt}', params })
const worked = (tool: string, args?: JsonObject): JsonObject =>
  only({ kind: 'tool', tool, ...(args === undefined ? {} : { args }) })
const FILE = '{intake.photo?}'

const promise = (document: JsonObject, ...files: JsonObject[]): void => {
  ;(document.artifactSchema as JsonObject).files = files.map((file, index) => ({ role: `file_${index}`, ...file }))
}

/** One row per rule: the code, where it points, and the smallest change that breaks it. */
const RULES: [code: string, pointer: string, change: (document: JsonObject, steps: JsonObject[]) => void][] = [
  ['no-steps', '/runtimeSteps', (d) => (d.runtimeSteps = [])],
  ['no-steps', '/runtimeSteps', (d) => delete d.runtimeSteps],
  ['missing-field', '/intakeSchema', (d) => delete d.intakeSchema],
  ['missing-field', '/artifactSchema', (d) => delete d.artifactSchema],
  ['missing-field', '/schemaVersion', (d) => delete d.schemaVersion],
  ['invalid-field', '/artifactClass', (d) => (d.artifactClass = 'sculpture')],
  ['unknown-field', '/colour', (d) => (d.colour = 'red')],
  ['invalid-version', '/version', (d) => (d.version = '2026.02.30')],
  ['unknown-schema-version', '/schemaVersion', (d) => (d.schemaVersion = 'workflow-schema-v9')],
  ['duplicate-step-id', '/runtimeSteps/1/id', (_, steps) => (step(steps, 'cutout').id = 'render')],
  ['unknown-step-kind', '/runtimeSteps/0/kind', (_, steps) => (step(steps, 'render').kind = 'imagine')],
  [
    'invalid-output-schema',
    '/runtimeSteps/0/outputSchema/properties/a/pattern',
    (_, steps) => (steps[0] = telling({ properties: { a: { pattern: '(?=a)b' } } })),
  ],
  [
    'invalid-output-schema',
    '/runtimeSteps/0/outputSchema/properties/a/$ref',
    (_, steps) =>
      (steps[0] = {
        ...telling({ properties: { a: { $ref: 'https://example.org/s.json' } } }),
        kind: 'agent',
        tools: ['value.pass'],
      }),
  ],
  [
    'invalid-output-schema',
    '/runtimeSteps/0/outputSchema/type',
    (_, steps) => (steps[0] = telling({ type: 'objekt' })),
  ],
  ['invalid-step', '/runtimeSteps/0/promptTemplate', (_, steps) => delete step(steps, 'render').promptTemplate],
  ['unknown-step-field', '/runtimeSteps/0/promptTemplte', (_, steps) => (step(steps, 'render').promptTemplte = 'x')],
  ['invalid-condition', '/runtimeSteps/0/when', (_, steps) => (step(steps, 'render').when = 'intake.style ==')],
  ['invalid-condition', '/runtimeSteps/0/when', (_, steps) => (step(steps, 'render').when = '1 + 1')],
  ['invalid-condition', '/runtimeSteps/0/when', (_, steps) => (step(steps, 'render').when = 'env.HOME == "x"')],
  ['invalid-condition', '/runtimeSteps/0/when', (_, steps) => (step(steps, 'render').when = 'intake.stile == "x"')],
  [
    'invalid-condition',
    '/runtimeSteps/0/when',
    (_, steps) => (step(steps, 'render').when = 'intake.prompt.matches("(a+)+$")'),
  ],
  [
    'invalid-condition',
    '/gates/0/assert',
    (d) => (d.gates = [{ id: 'a', name: 'A', type: 'assert', assert: 'size(steps) > 0' }]),
  ],
  [
    'unknown-reference',
    '/runtimeSteps/0/when',
    (_, steps) => (step(steps, 'render').when = 'has(steps.rendr.output.x)'),
  ],
  [
    'unknown-reference',
    '/gates/0/assert',
    (d) =>
      (d.gates = [{ id: 'a', name: 'A', type: 'assert', after: 'render', assert: 'steps.cutout.output.data == 1' }]),
  ],
  ['cycle', '/runtimeSteps', (_, steps) => (step(steps, 'render').when = 'has(steps.cutout.output.data)')],
  ['invalid-foreach', '/runtimeSteps/0/forEach', (_, steps) => (step(steps, 'render').forEach = 'a, b')],
  [
    'invalid-foreach',
    '/runtimeSteps/0/forEach/items',
    (_, steps) => (step(steps, 'render').forEach = { items: '{intake.prompt} and more' }),
  ],
  [
    'invalid-foreach',
    '/runtimeSteps/0/forEach/concurrency',
    (_, steps) => (step(steps, 'render').forEach = { items: ['a'], concurrency: 0 }),
  ],
  [
    'invalid-foreach',
    '/runtimeSteps/0/forEach/paralel',
    (_, steps) => (step(steps, 'render').forEach = { items: ['a'], paralel: 2 }),
  ],
  ['invalid-gate', '/gates/0/assert', (d) => (d.gates = [{ id: 'a', name: 'A', type: 'assert' }])],
  ['invalid-gate', '/gates/0/maxUsd', (d) => (d.gates = [{ id: 'a', name: 'A', type: 'budget', maxUsd: -1 }])],
  [
    'invalid-gate',
    '/gates/0/maxUSD',
    (d) => (d.gates = [{ id: 'a', name: 'A', type: 'budget', maxUsd: 1, maxUSD: 1 }]),
  ],
  [
    'invalid-gate',
    '/gates/0/expiresIn',
    (d) => (d.gates = [{ id: 'a', name: 'A', type: 'review', expiresIn: 'soon' }]),
  ],
  ['invalid-gate', '/gates/0/onExpiry', (d) => (d.gates = [{ id: 'a', name: 'A', type: 'review', onExpiry: 'maybe' }])],
  ['invalid-gate', '/gates/0', (d) => (d.gates = [{ id: 'a', name: 'A', type: 'safety', model: 'openai/gpt-5' }])],
  [
    'unknown-model',
    '/gates/0/model',
    (d) => (d.gates = [{ id: 'a', name: 'A', type: 'safety', after: 'render', model: 'nobody/judge' }]),
  ],
  [
    'unfit-model',
    '/gates/0/model',
    (d) => (d.gates = [{ id: 'a', name: 'A', type: 'safety', after: 'render', model: 'openai/gpt-image-2' }]),
  ],
  [
    'unfit-file',
    '/artifactSchema/files/0/mimeType',
    (d) => promise(d, { mimeType: 'image/png', from: 'steps.raw.output.artifact' }),
  ],
  ['artifact-contract', '/artifactSchema/files', (d) => (d.artifactClass = 'video')],
  ['unknown-tool', '/runtimeSteps/2/tool', (_, steps) => (step(steps, 'raw').tool = 'image.convrt')],
  [
    'unknown-tool-argument',
    '/runtimeSteps/2/args/formt',
    (_, steps) => ((step(steps, 'raw').args as JsonObject).formt = 'webp'),
  ],
  [
    'missing-tool-argument',
    '/runtimeSteps/2/args',
    (_, steps) => delete (step(steps, 'raw').args as JsonObject).format,
  ],
  [
    'invalid-tool-argument',
    '/runtimeSteps/2/args/format',
    (_, steps) => ((step(steps, 'raw').args as JsonObject).format = 'bmp'),
  ],
  [
    'unknown-tool-argument',
    '/runtimeSteps/2/args/lossless',
    (_, steps) => ((step(steps, 'raw').args as JsonObject).format = 'jpeg'),
  ],
  [
    'invalid-tool-argument',
    '/runtimeSteps/2/args/quality',
    (_, steps) => Object.assign(step(steps, 'raw').args as JsonObject, { format: 'png', quality: 80 }),
  ],
  [
    'invalid-tool-argument',
    '/runtimeSteps/2/args/image',
    (_, steps) => ((step(steps, 'raw').args as JsonObject).image = 'fox.png'),
  ],
  ['missing-tool-argument', '/runtimeSteps/2/args', (_, steps) => delete (step(steps, 'raw').args as JsonObject).image],
  [
    'unknown-tool-argument',
    '/runtimeSteps/2/args/losless',
    (_, steps) => Object.assign(step(steps, 'raw').args as JsonObject, { format: '{intake.format?}', losless: true }),
  ],
  [
    'unknown-parameter',
    '/runtimeSteps/0/params/aspect_ratio',
    (_, steps) => (step(steps, 'render').params = { aspect_ratio: '1:1' }),
  ],
  [
    'invalid-parameter',
    '/runtimeSteps/0/params/quality',
    (_, steps) => (step(steps, 'render').params = { quality: 'ultra' }),
  ],
  [
    'reserved-parameter',
    '/runtimeSteps/0/params/prompt',
    (_, steps) => (step(steps, 'render').params = { prompt: 'a fox' }),
  ],
  ['unknown-tool-argument', '/runtimeSteps/1/args/imge', (_, steps) => (step(steps, 'cutout').args = { imge: FILE })],
  ['missing-tool-argument', '/runtimeSteps/1/args', (_, steps) => delete step(steps, 'cutout').args],
  ['unknown-model', '/runtimeSteps/0/model', (_, steps) => (step(steps, 'render').model = 'nobody/paint-1')],
  ['model-retired', '/runtimeSteps/0/model', (_, steps) => (step(steps, 'render').model = 'openai/gpt-image-0')],
  ['unfit-model', '/runtimeSteps/0/model', (_, steps) => (step(steps, 'render').model = 'openai/gpt-5')],
  [
    'unknown-model',
    '/runtimeSteps/0/model',
    (_, steps) => {
      const lookup = { from: 'intake.style', map: { best: 'nobody/paint-1' }, default: 'openai/gpt-image-2' }
      Object.assign(step(steps, 'render'), { model: '{lookup.which}', lookups: { which: lookup } })
    },
  ],
  ['no-model', '/runtimeSteps/0', (_, steps) => delete step(steps, 'render').model],
  ['model-and-provider', '/runtimeSteps/0', (_, steps) => (step(steps, 'render').provider = 'image')],
  [
    'unknown-provider-role',
    '/runtimeSteps/0/provider',
    (_, steps) => {
      delete step(steps, 'render').model
      step(steps, 'render').provider = 'imge'
    },
  ],
  ['unknown-gate', '/gates/0', (d) => (d.gates = ['prompt revolution'])],
  ['unknown-gate', '/gates/0/unlocks/0', (d) => (d.gates = [{ id: 'a', name: 'A', type: 'review', unlocks: ['b'] }])],
  ['duplicate-gate-id', '/gates/1/id', (d) => (d.gates = ['HITL review', 'HITL review'])],
  [
    'unknown-reference',
    '/gates/0/after',
    (d) => (d.gates = [{ id: 'a', name: 'A', type: 'review', after: 'nowhere' }]),
  ],
  [
    'unknown-reference',
    '/runtimeSteps/1/args/image',
    (_, steps) => (step(steps, 'cutout').args = { image: '{steps.rendr.output.artifact}' }),
  ],
  ['unknown-reference', '/runtimeSteps/1/needs/0', (_, steps) => (step(steps, 'cutout').needs = ['nowhere'])],
  ['unknown-reference', '/outputAliases/image', (d) => (d.outputAliases = { image: 'steps.nowhere.output' })],
  [
    'unknown-reference',
    '/artifactSchema/files/0/from',
    (d) =>
      ((d.artifactSchema as { files: JsonObject[] }).files[0] = {
        role: 'a',
        mimeType: 'image/webp',
        from: 'intake.prompt',
      }),
  ],
  [
    'unknown-output',
    '/runtimeSteps/1/args/image',
    (_, steps) => (step(steps, 'cutout').args = { image: '{steps.render.output.artefact}' }),
  ],
  [
    'unknown-lookup',
    '/runtimeSteps/0/promptTemplate',
    (_, steps) => (step(steps, 'render').promptTemplate = '{intake.prompt} {lookup.stile}'),
  ],
  [
    'unknown-root',
    '/runtimeSteps/0/promptTemplate',
    (_, steps) => (step(steps, 'render').promptTemplate = '{intake.prompt} {env.HOME}'),
  ],
  [
    'unknown-intake-field',
    '/runtimeSteps/0/promptTemplate',
    (_, steps) => (step(steps, 'render').promptTemplate = '{intake.promt}'),
  ],
  [
    'unknown-intake-field',
    '/runtimeSteps/0/lookups/styleDescriptor/from',
    (_, steps) =>
      ((step(steps, 'render').lookups as { styleDescriptor: JsonObject }).styleDescriptor.from = 'intake.stile'),
  ],
  [
    'unknown-run-field',
    '/runtimeSteps/0/promptTemplate',
    (_, steps) => (step(steps, 'render').promptTemplate = '{intake.prompt} {run.secret}'),
  ],
  [
    'item-outside-foreach',
    '/runtimeSteps/0/promptTemplate',
    (_, steps) => (step(steps, 'render').promptTemplate = '{intake.prompt} {item}'),
  ],
  ['cycle', '/runtimeSteps', (_, steps) => (step(steps, 'render').needs = ['cutout'])],
  ['unlisted-sub-workflow', '/runtimeSteps/4/workflow', (_, steps) => steps.push(call('hooks/nowhere'))],
  ['cyclic-sub-workflow', '/runtimeSteps/4/workflow', (d, steps) => steps.push(call(textOf(d.id)))],
  [
    'invalid-intake-schema',
    '/intakeSchema/properties/prompt/pattern',
    (d) => ((d.intakeSchema as { properties: { prompt: JsonObject } }).properties.prompt.pattern = '(?=a)b'),
  ],
  ['cap-below-estimate', '/budgetPolicy/maxPerRunUsd', (d) => (d.budgetPolicy = { maxPerRunUsd: 0.001 })],
  ['unknown-rate', '/runtimeSteps/0', (_, steps) => (step(steps, 'render').model = 'openai/gpt-image-99')],
]

const ESTIMABILITY = ['unknown-rate', 'cap-below-estimate']

function codes(problems: Problem[]): string[] {
  return problems.map(({ code, pointer }) => `${code} ${pointer}`)
}

describe('the publish guards', () => {
  it('find nothing in the shipped templates', async () => {
    const listed = new Map(shipped.templates.map((template) => [textOf(template.id), template as JsonObject]))
    for (const template of shipped.templates)
      expect(await check(template, shipped.pricing.rates, listed), textOf(template.id)).toEqual([])
  })

  it.each(RULES)('name %s at %s', async (code, pointer, change) => {
    const problems = await check(changed(change))
    expect(codes(problems)).toContain(`${code} ${pointer}`)
    const problem = problems.find((one) => one.code === code && one.pointer === pointer)
    expect(problem?.guard).toBe(ESTIMABILITY.includes(code) ? 'estimability' : 'executability')
    expect(problem?.detail.length).toBeGreaterThan(10)
  })

  it.each<[string, (document: JsonObject, steps: JsonObject[]) => void]>([
    [
      'a format that the intake chooses',
      (_, steps) => ((step(steps, 'raw').args as JsonObject).format = '{intake.format?}'),
    ],
    [
      'a size that the intake chooses, and a PNG that is said to be whole',
      (d, steps) => {
        const args = { format: 'png', widthPx: '{intake.width?}', lossless: true }
        step(steps, 'raw').args = { image: '{steps.render.output.artifact}', ...args }
        promise(d, { mimeType: 'image/png', from: 'steps.raw.output.artifact' })
      },
    ],
    ['a condition on a required field', (_, steps) => (step(steps, 'cutout').when = 'size(intake.prompt) > 3')],
    ['a condition that asks first', (_, steps) => (step(steps, 'cutout').when = 'has(intake.x) && intake.x == 1')],
    [
      'a list of its own',
      (_, steps) =>
        void steps.push({
          id: 'each',
          kind: 'tool',
          tool: 'value.pass',
          forEach: { items: ['a', 'b'], concurrency: 2 },
          args: { value: '{item}' },
        }),
    ],
    [
      'a review with a time',
      (d) => (d.gates = [{ id: 'a', name: 'A', type: 'review', expiresIn: '7d', onExpiry: 'reject' }]),
    ],
    ['a budget gate', (d) => (d.gates = [{ id: 'a', name: 'A', type: 'budget', after: 'render', maxUsd: 0 }])],
    ['a review of unknown outcomes', (d) => (d.onUnknownOutcome = 'review')],
    ['no files at all', (d) => ((d.artifactSchema as JsonObject).files = [])],
  ])('find nothing in %s', async (_, change) => {
    expect(await check(changed(change))).toEqual([])
  })

  it('refuse a model from the day after its end, wherever it is named, and name its successor', async () => {
    const rates = (['input_token', 'output_token'] as const).flatMap((unit) =>
      ['openai/last-day', 'openai/gone'].map((model): Rate => ({ model, unit, unit_price_usd: 0, assumed: true })),
    )
    const named = (providers: JsonObject): JsonObject =>
      changed((document, steps) => {
        document.providers = providers
        steps.push({ id: 'tell', kind: 'llm', provider: 'writer', promptTemplate: 'Tell.' })
        steps.push({ id: 'more', kind: 'llm', provider: 'writer', promptTemplate: 'Tell more.' })
      })
    const all = [...shipped.pricing.rates, ...rates]
    expect(await check(named({ writer: 'openai/last-day' }), all)).toEqual([])
    expect(await check(named({ writer: ['openai/last-day', 'openai/gone'] }), all)).toEqual([
      {
        pointer: '/providers/writer',
        code: 'model-retired',
        guard: 'executability',
        detail: '"openai/gone" ended on 2026-11-27; its successor is "openai/next"',
      },
    ])
    const own = changed((_, steps) => void steps.push({ ...telling({}), model: 'openai/gone' }))
    expect(codes(await check(own, all))).toContain('model-retired /runtimeSteps/4/model')
  })

  // Each was paid for, ignored or refused by a provider in somebody's hands; the source is where it was told.
  it.each<[source: string, document: JsonObject, problem: string, remedy: string]>([
    [
      'a typo',
      worked('fal/birefnet-light', { imge: FILE }),
      'unknown-tool-argument /args/imge',
      'did you mean "image"?',
    ],
    ['no arguments', worked('fal/birefnet-light'), 'missing-tool-argument /args', 'image is required'],
    ['nothing for a model without a row', worked('fal/acme/any', {}), 'missing-tool-argument /args', 'its arguments'],
    [
      'a local path for a file',
      worked('fal/birefnet-light', { image: 'fox.png' }),
      'invalid-tool-argument /args/image',
      'an object',
    ],
    [
      'a file by two names',
      worked('fal/birefnet-light', { image: FILE, image_url: FILE }),
      'reserved-parameter /args/image_url',
      '"image" says it',
    ],
    [
      'no sound for a talking head',
      worked('fal/fabric-1.0', { image: FILE, resolution: '480p' }),
      'invalid-tool-argument /args',
      'audio is required',
    ],
    [
      'a length that nobody sells',
      worked('fal/kling-2.5-turbo', { image: FILE, prompt: 'go', duration: '7' }),
      'invalid-tool-argument /args/duration',
      'one of 5, 10',
    ],
    [
      'no text to speak',
      worked('openai/gpt-4o-mini-tts', { voice: 'nova' }),
      'missing-tool-argument /args',
      'needs "text"',
    ],
    [
      'a sound in two formats',
      worked('openai/gpt-4o-mini-tts', { text: 'Hi', format: 'mp3', response_format: 'wav' }),
      'reserved-parameter /args/response_format',
      '"format" says it',
    ],
    [
      'the words of a voice by the name of the API',
      worked('openai/gpt-4o-mini-tts', { text: 'Hi', input: 'Hi' }),
      'reserved-parameter /args/input',
      '"text"',
    ],
    [
      'a voice of another provider',
      worked('fal/xai-tts', { text: 'Hi', voice: 'alloy' }),
      'invalid-tool-argument /args/voice',
      'one of',
    ],
    [
      'genblaze#133: the size of a picture under a name that is dropped',
      picture('fal/flux-dev', { size: '1024x1024' }),
      'unknown-parameter /params/size',
      'image_size',
    ],
    [
      'Fooocus-API#353: a name with one letter too many',
      picture('fal/flux-dev', { image_sizes: 'square' }),
      'unknown-parameter /params/image_sizes',
      'did you mean "image_size"?',
    ],
    [
      'omnidraw#65: a shape where a size is wanted',
      picture('openai/gpt-image-2', { aspect_ratio: '9:16' }),
      'unknown-parameter /params/aspect_ratio',
      'size',
    ],
    [
      'fal#583: more pixels than there are',
      picture('fal/flux-dev', { image_size: { width: 20_000, height: 64 } }),
      'invalid-parameter /params/image_size',
      'at most 14142',
    ],
    [
      'more pictures than a request makes',
      picture('fal/flux-dev', { num_images: 40 }),
      'invalid-parameter /params/num_images',
      'at most 4',
    ],
    ['a number as text', picture('fal/flux-dev', { seed: '42' }), 'invalid-parameter /params/seed', 'an integer'],
    [
      'a JPEG that is to be transparent',
      picture('openai/gpt-image-2', { background: 'transparent', output_format: 'jpeg' }),
      'invalid-parameter /params/output_format',
      'one of png, webp',
    ],
    [
      'a PNG that is to be compressed',
      picture('openai/gpt-image-2', { output_compression: 50 }),
      'invalid-parameter /params',
      'needs "output_format"',
    ],
    [
      'a picture in pieces',
      picture('openai/gpt-image-2', { partial_images: 2 }),
      'reserved-parameter /params/partial_images',
      'whole',
    ],
    [
      'litellm#33738: a temperature while the model reasons',
      text('openai/gpt-5-mini', { temperature: 0.1 }),
      'invalid-parameter /params/temperature',
      'must be 1',
    ],
    [
      'yoagent 0.27.4: a temperature where reasoning cannot be switched off',
      text('openai/gpt-6.1-sol', { temperature: 0 }),
      'unknown-parameter /params/temperature',
      'there are',
    ],
    [
      'a temperature beside an effort',
      text('openai/gpt-5.4', { temperature: 0, reasoning: { effort: 'low' } }),
      'invalid-parameter /params/temperature',
      'not allowed here',
    ],
    [
      'a temperature beside the effort that is usual',
      text('openai/gpt-6.1-terra', { temperature: 0 }),
      'invalid-parameter /params/temperature',
      'not allowed here',
    ],
    [
      'an effort that the model does not know',
      text('openai/gpt-6.1-sol', { reasoning: { effort: 'none' } }),
      'invalid-parameter /params/reasoning/effort',
      'one of low',
    ],
    [
      'a limit by its name in another API',
      text('openai/gpt-5-mini', { max_tokens: 500 }),
      'unknown-parameter /params/max_tokens',
      'max_output_tokens',
    ],
    [
      'a nested typo with a value that is filled in later',
      text('openai/gpt-5-mini', { reasoning: { effrt: '{intake.prompt}' } }),
      'unknown-parameter /params/reasoning/effrt',
      'did you mean "effort"?',
    ],
    [
      'kimi-code#1397: two formats of an answer',
      text('openai/gpt-5-mini', { text: { format: { type: 'json_object' } } }, { outputSchema: { type: 'object' } }),
      'reserved-parameter /params/text/format',
      'outputSchema',
    ],
    [
      'two sets of instructions',
      text('openai/gpt-5-mini', { instructions: 'Be long.' }, { system: 'Be brief.' }),
      'reserved-parameter /params/instructions',
      '"system"',
    ],
    ['an answer in pieces', text('openai/gpt-5-mini', { stream: true }), 'reserved-parameter /params/stream', 'whole'],
    [
      'another model',
      text('openai/gpt-5-mini', { model: 'gpt-6-astra' }),
      'reserved-parameter /params/model',
      'names its model',
    ],
    [
      "an agent's tools by the API's name",
      text('openai/gpt-5-mini', { tools: [{ type: 'web_search' }] }, { kind: 'agent', tools: ['value.pass'] }),
      'reserved-parameter /params/tools',
      'agent',
    ],
  ])('refuse before it is paid for: %s', async (_, document, problem, remedy) => {
    const problems = await check(document)
    const at = problem.replace(' ', ' /runtimeSteps/0')
    expect(codes(problems)).toContain(at)
    expect(problems.find((one) => `${one.code} ${one.pointer}` === at)?.detail).toContain(remedy)
  })

  it.each<[string, JsonObject]>([
    [
      'a picture of a chosen size',
      picture('fal/flux-dev', { image_size: { width: '{intake.width?}', height: 512 }, num_images: 2 }),
    ],
    [
      'a size of two numbers',
      picture('openai/gpt-image-2', { size: '{intake.width?}x{intake.height?}', quality: '{intake.quality?}' }),
    ],
    [
      'verbosity beside an output schema',
      text('openai/gpt-5-mini', { text: { verbosity: 'low' } }, { outputSchema: { type: 'object' } }),
    ],
    [
      'a temperature where reasoning is off',
      text('openai/gpt-6.1-terra', { temperature: 0, reasoning: { effort: 'none' } }),
    ],
    ['a temperature where reasoning is off by itself', text('openai/gpt-5.4-mini', { temperature: 0 })],
    [
      'an answer that is made in the background',
      text('openai/gpt-5-mini', { background: true, service_tier: 'flex', max_output_tokens: 64 }),
    ],
    ['a search of the web', text('openai/gpt-5-mini', { tools: [{ type: 'web_search' }] })],
    [
      'a slow voice of its own',
      worked('openai/gpt-4o-mini-tts', {
        text: '{intake.prompt}',
        voice: { id: 'voice_1' },
        response_format: 'mp3',
        speed: 0.5,
      }),
    ],
    ['what an unknown endpoint may take', worked('fal/acme/any', { whatever: [1, { of: 'it' }] })],
    ['a cut-out of a picture elsewhere', worked('fal/birefnet-light', { image_url: 'https://example.org/fox.png' })],
  ])('let pass what a model takes: %s', async (_, document) => {
    expect(codes(await check(document)).filter((one) => !one.startsWith('unknown-rate'))).toEqual([])
  })

  // A plan of what is to be made, which is paid for before anything reads it.
  const PLAN: JsonObject = {
    id: 'plan',
    kind: 'llm',
    model: 'openai/gpt-5-mini',
    promptTemplate: 'Plan {intake.topic}.',
    outputSchema: {
      type: 'object',
      additionalProperties: false,
      properties: {
        title: { type: 'string' },
        scenes: { type: 'array', maxItems: 6, items: { $ref: '#/$defs/scene' } },
        tone: { anyOf: [{ type: 'string' }, { type: 'null' }] },
        notes: { type: 'object', properties: { on: { type: 'string' } } },
        free: {},
      },
      $defs: { scene: { type: 'object', additionalProperties: false, properties: { look: { type: 'string' } } } },
    },
  }
  const INTAKE: JsonObject = {
    type: 'object',
    properties: {
      topic: { type: 'string' },
      cast: {
        type: 'array',
        items: { type: 'object', additionalProperties: false, properties: { name: { type: 'string' } } },
      },
      count: { type: 'integer' },
      maybe: { type: ['array', 'null'] },
    },
  }
  const planned = (reader: JsonObject, over: JsonObject = {}): JsonObject =>
    only(
      {},
      { intakeSchema: INTAKE, runtimeSteps: [PLAN, { kind: 'tool', tool: 'value.pass', id: 'b', ...reader }], ...over },
    )
  const read = (value: string, more: JsonObject = {}): JsonObject => planned({ args: { value }, ...more })
  const each = (items: JsonValue, value = '{item}', more: JsonObject = {}): JsonObject =>
    read(value, { forEach: items, ...more })

  it.each<[source: string, document: JsonObject, problem: string, remedy: string]>([
    [
      'Archon#1883: a key that the answer never has',
      read('{steps.plan.output.json.scens}'),
      'unknown-output /runtimeSteps/1/args/value',
      'did you mean "scenes"?',
    ],
    [
      'one that need not be there, and never is',
      read('{steps.plan.output.json.scens?}'),
      'unknown-output /runtimeSteps/1/args/value',
      'did you mean "scenes"?',
    ],
    [
      'one inside of an item',
      read('{steps.plan.output.json.scenes[0].lok}'),
      'unknown-output /runtimeSteps/1/args/value',
      'did you mean "look"?',
    ],
    [
      'one inside of a text',
      read('{steps.plan.output.json.title.text}'),
      'unknown-output /runtimeSteps/1/args/value',
      'nothing below',
    ],
    [
      'a length that JSON does not have',
      read('{steps.plan.output.json.scenes.length}'),
      'unknown-output /runtimeSteps/1/args/value',
      'nothing below',
    ],
    [
      'an item beyond the last',
      read('{steps.plan.output.json.scenes[6].look}'),
      'unknown-output /runtimeSteps/1/args/value',
      '"6"',
    ],
    [
      'one that nothing promises',
      read('{steps.plan.output.json.notes.off}'),
      'unknown-output /runtimeSteps/1/args/value',
      'there are on',
    ],
    [
      'the answer without its json',
      read('{steps.plan.output.title}'),
      'unknown-output /runtimeSteps/1/args/value',
      'text, json, usage',
    ],
    [
      'the answer as text',
      read('{steps.plan.output.text.title}'),
      'unknown-output /runtimeSteps/1/args/value',
      'nothing below',
    ],
    [
      'in an alias',
      planned({ args: { value: 1 } }, { outputAliases: { t: 'steps.plan.output.json.titel' } }),
      'unknown-output /outputAliases/t',
      'did you mean "title"?',
    ],
    [
      'in a prompt',
      only(
        {},
        {
          intakeSchema: INTAKE,
          runtimeSteps: [PLAN, { ...telling({}), promptTemplate: 'Go on with {steps.plan.output.json.titel}.' }],
        },
      ),
      'unknown-output /runtimeSteps/1/promptTemplate',
      'did you mean "title"?',
    ],
    [
      'a key of a file',
      planned(
        { tool: 'image.convert', args: { image: '{intake.topic?}', format: 'png' } },
        { outputAliases: { url: 'steps.b.output.artifact.url' } },
      ),
      'unknown-output /outputAliases/url',
      'sha256',
    ],
    [
      'a key of what the caller gives',
      read('{intake.cast[0].nme}'),
      'unknown-intake-field /runtimeSteps/1/args/value',
      'did you mean "name"?',
    ],
    [
      'a key of an item',
      each('{steps.plan.output.json.scenes}', '{item.lok}'),
      'unknown-output /runtimeSteps/1/args/value',
      'did you mean "look"?',
    ],
    [
      'a key of an item of the intake',
      each('{intake.cast}', '{item.nme}'),
      'unknown-output /runtimeSteps/1/args/value',
      'did you mean "name"?',
    ],
    [
      'a lookup by what is not there',
      planned({ args: { value: '{lookup.l}' }, lookups: { l: { from: 'intake.cast[0].nme', map: {}, default: 'x' } } }),
      'unknown-intake-field /runtimeSteps/1/lookups/l/from',
      'did you mean "name"?',
    ],
    [
      'dify#25120: a list that is an object',
      each('{steps.plan.output.json}'),
      'invalid-foreach /runtimeSteps/1/forEach',
      'is object',
    ],
    [
      'Structorizer#431: the letters of a text',
      each('{intake.topic}'),
      'invalid-foreach /runtimeSteps/1/forEach',
      'is string',
    ],
    ['the answer itself', each('{steps.plan.output}'), 'invalid-foreach /runtimeSteps/1/forEach', 'is object'],
    [
      'the text of the answer',
      each({ items: '{steps.plan.output.text}', concurrency: 2 }),
      'invalid-foreach /runtimeSteps/1/forEach/items',
      'is string',
    ],
    [
      'a text of the answer',
      each('{steps.plan.output.json.title}'),
      'invalid-foreach /runtimeSteps/1/forEach',
      'is string',
    ],
    ['one item', each('{steps.plan.output.json.scenes[0]}'), 'invalid-foreach /runtimeSteps/1/forEach', 'is object'],
    ['a number of times', each('{intake.count}'), 'invalid-foreach /runtimeSteps/1/forEach', 'is integer'],
    [
      'a text or nothing',
      each('{steps.plan.output.json.tone}'),
      'invalid-foreach /runtimeSteps/1/forEach',
      'is string or null',
    ],
    [
      'a lookup',
      each('{lookup.l}', '{item}', { lookups: { l: { from: 'intake.topic', map: {}, default: 'a,b' } } }),
      'invalid-foreach /runtimeSteps/1/forEach',
      'a list',
    ],
  ])('refuse what a schema rules out: %s', async (_, document, problem, remedy) => {
    const problems = await check(document)
    expect(codes(problems)).toEqual([problem])
    expect(problems[0]?.detail).toContain(remedy)
  })

  it.each<[string, JsonObject]>([
    ['a list of the answer', each('{steps.plan.output.json.scenes}', '{item.look}')],
    ['a list of the intake, or nothing', each('{intake.maybe}', '{item.anything}')],
    ['what the schema leaves open', each('{steps.plan.output.json.free}', '{item.a.b}')],
    ['what may be there', read('{steps.plan.output.json.notes.off?} {steps.plan.output.json.scenes[9].look?}')],
    [
      'the outputs of a step that goes through a list',
      only(
        {},
        {
          intakeSchema: INTAKE,
          runtimeSteps: [
            PLAN,
            {
              id: 'b',
              kind: 'tool',
              tool: 'value.pass',
              forEach: '{steps.plan.output.json.scenes}',
              args: { value: '{item}' },
            },
            {
              id: 'c',
              kind: 'tool',
              tool: 'value.pass',
              forEach: '{steps.b.output}',
              args: { value: '{item.value} {steps.b.output[0].value.look}' },
            },
          ],
        },
      ),
    ],
  ])('let pass what a schema allows: %s', async (_, document) => {
    expect(await check(document)).toEqual([])
  })

  const promised = (mimeType: string, from: string, step: JsonObject): JsonObject => {
    const document = only(step)
    promise(document, { mimeType, from })
    return {
      ...document,
      artifactClass: mimeType.startsWith('image/') ? 'visual' : mimeType.startsWith('video/') ? 'video' : 'knowledge',
    }
  }
  const file = 'steps.a.output.artifact'
  const convert = (format: string): JsonObject => ({
    kind: 'tool',
    tool: 'image.convert',
    args: { image: FILE, format },
  })
  const paint = (model: string, params: JsonObject = {}): JsonObject => ({
    kind: 'image',
    model,
    promptTemplate: 'x',
    params,
  })
  const speak = (tool: string, args: JsonObject = {}): JsonObject => ({
    kind: 'tool',
    tool,
    args: { text: 'Hi', ...args },
  })
  const save = (format: string): JsonObject => ({ kind: 'tool', tool: 'text.save', args: { text: 'Hi', format } })
  const write: JsonObject = { kind: 'llm', model: 'openai/gpt-5-mini', promptTemplate: 'Tell.' }

  it.each<[source: string, document: JsonObject, place: string, remedy: string]>([
    [
      'payload-ai#176: a format beside the one that is promised',
      promised('image/png', file, paint('openai/gpt-image-2', { output_format: 'jpeg' })),
      'mimeType',
      'makes image/jpeg',
    ],
    [
      'what the model makes by itself',
      promised('image/webp', file, paint('openai/gpt-image-2')),
      'mimeType',
      'makes image/png',
    ],
    [
      'opencode-gpt-imagegen#87: another format of the tool',
      promised('image/webp', file, convert('png')),
      'mimeType',
      'makes image/png',
    ],
    [
      'a format of a model behind fal',
      promised('image/png', file, paint('fal/flux-dev', { output_format: 'jpeg' })),
      'mimeType',
      'makes image/jpeg',
    ],
    [
      'a picture where a film is promised',
      promised('video/mp4', file, paint('fal/flux-dev')),
      'mimeType',
      'makes image',
    ],
    [
      'a film where a picture is promised',
      promised('image/png', file, { kind: 'tool', tool: 'fal/kling-2.5-turbo', args: { prompt: 'go', image: FILE } }),
      'mimeType',
      'makes video',
    ],
    [
      'a sound in another format',
      promised('audio/wav', file, speak('openai/gpt-4o-mini-tts', { format: 'mp3' })),
      'mimeType',
      'makes audio/mpeg',
    ],
    [
      'a sound in the usual format of the other provider',
      promised('audio/mpeg', file, speak('fal/xai-tts')),
      'mimeType',
      'makes audio/wav',
    ],
    ['a text in another format', promised('application/json', file, save('md')), 'mimeType', 'makes text/markdown'],
    ['a text where a picture is promised', promised('image/png', file, save('txt')), 'mimeType', 'makes text'],
    [
      'an answer where a file is promised',
      promised('text/markdown', 'steps.a.output.text', write),
      'from',
      'there is no file',
    ],
    ['the whole of an answer', promised('text/markdown', 'steps.a.output', write), 'from', 'there is no file'],
    [
      'the size of a file',
      promised('image/png', 'steps.a.output.duration_ms', {
        kind: 'tool',
        tool: 'audio.join',
        args: { parts: [FILE] },
      }),
      'from',
      'there is no file',
    ],
    [
      'one of several models',
      {
        ...promised('image/png', file, {
          kind: 'image',
          provider: 'p',
          promptTemplate: 'x',
          params: { output_format: 'jpeg' },
        }),
        providers: { p: ['openai/gpt-image-2', 'fal/flux-dev'] },
      },
      'mimeType',
      'makes image/jpeg',
    ],
  ])('refuse a promise of a file that no step keeps: %s', async (_, document, place, remedy) => {
    const found = (await check(document)).filter(({ code }) => code === 'unfit-file')
    expect(codes(found)).toEqual([`unfit-file /artifactSchema/files/0/${place}`])
    expect(found[0]?.detail).toContain(remedy)
  })

  it.each<[string, JsonObject]>([
    ['another name of the same type', promised('image/jpg', file, convert('jpeg'))],
    ['what the intake chooses', promised('image/webp', file, convert('{intake.format?}'))],
    ['what only the class is known of', promised('image/jpeg', file, paint('fal/flux-dev'))],
    ['text of any kind', promised('text/csv', file, save('txt'))],
    [
      'all files of a list',
      { ...promised('image/png', 'steps.a.output', { ...convert('png'), forEach: { items: ['a', 'b'] } }) },
    ],
    ['all files of a step', promised('image/png', 'steps.a.output.artifacts', paint('openai/gpt-image-2', { n: 2 }))],
    ['the whole output of a step that makes one', promised('image/png', 'steps.a.output', convert('png'))],
    [
      'what a value holds',
      promised('image/png', 'steps.a.output.value', { kind: 'tool', tool: 'value.pass', args: { value: FILE } }),
    ],
  ])('let pass a promise that can be kept: %s', async (_, document) => {
    expect(codes(await check(document))).toEqual([])
  })

  const capped = (maxPerRunUsd: number, document: JsonObject): JsonObject => ({
    ...document,
    budgetPolicy: { maxPerRunUsd },
  })
  const scenes = { type: 'array', minItems: 10, maxItems: 10 }
  const many = only(
    {},
    {
      runtimeSteps: [
        { ...telling({ type: 'object', properties: { scenes } }), model: 'openai/gpt-5-mini' },
        { id: 'draw', ...paint('fal/flux-dev'), forEach: '{steps.tell.output.json.scenes}' },
      ],
    },
  )
  const chosen = picture('openai/gpt-image-2', { size: '1024x1024', quality: '{intake.quality}' })
  chosen.intakeSchema = {
    required: ['prompt', 'quality'],
    properties: { prompt: {}, quality: { enum: ['low', 'high'] } },
  }
  const SQUARES = { image_size: { width: 2048, height: 2048 }, num_images: 4 }

  it.each<[what: string, document: JsonObject, refused: boolean, warned: boolean]>([
    ['less than one picture', capped(0.02, picture('fal/flux-dev', {})), true, true],
    ['less than a text', capped(0.0001, text('openai/gpt-5-mini', {})), true, true],
    ['nothing', capped(0, worked('fal/birefnet-light', { image: FILE })), true, true],
    ['less than all pictures of a list', capped(0.1, many), true, true],
    [
      'less than what the parameters ask for, which an edit may mend',
      capped(0.05, picture('fal/flux-dev', SQUARES)),
      false,
      true,
    ],
    ['enough for the cheapest choice', capped(0.01, chosen), false, false],
    ['enough', capped(0.5, many), false, false],
    ['nothing, and nothing is paid', capped(0, worked('value.pass', { value: 1 })), false, false],
    ['not said', text('openai/gpt-5-mini', {}), false, false],
  ])('a cap of %s', async (_, document, refused, warned) => {
    const at = 'cap-below-estimate /budgetPolicy/maxPerRunUsd'
    expect(codes(await check(document))).toEqual(refused ? [at] : [])
    expect(codes(await advise(document))).toEqual(warned ? [at] : [])
  })

  it.each<[what: string, document: JsonObject, warnings: string[]]>([
    [
      'iterion#67: the same request again for an answer of no use',
      text('openai/gpt-5-mini', {}, { retry: { on: ['bad_output'] } }),
      ['blind-retry /runtimeSteps/0/retry/on'],
    ],
    [
      'one that is told what was wrong',
      text('openai/gpt-5-mini', {}, { retry: { on: ['bad_output'] }, promptTemplate: 'Tell. {retry.problem?}' }),
      [],
    ],
    [
      'another seed for each attempt',
      only({ ...paint('fal/flux-dev', { seed: '{retry.attempt}' }), retry: { on: ['bad_output'] } }),
      [],
    ],
    ['no further attempt', text('openai/gpt-5-mini', {}, { retry: { maxAttempts: 1, on: ['bad_output'] } }), []],
    ['other failures', text('openai/gpt-5-mini', {}, { retry: { on: ['server', 'timeout'] } }), []],
    [
      'what costs nothing',
      only({ kind: 'tool', tool: 'value.pass', args: { value: 1 }, retry: { on: ['bad_output'] } }),
      [],
    ],
    [
      'Impact-Pack#738: the same seed for all variants',
      picture('fal/flux-dev', { seed: 42 }),
      ['fixed-seed /runtimeSteps/0/params/seed'],
    ],
    ['one in the arguments of a model', worked('fal/acme/any', { seed: 42 }), ['fixed-seed /runtimeSteps/0/args/seed']],
    ['a seed of its own', picture('fal/flux-dev', { seed: '{run.seed}' }), []],
    [
      'a prompt of its own',
      only({ ...paint('fal/flux-dev', { seed: 42 }), promptTemplate: 'Picture {run.variant_index}' }),
      [],
    ],
  ])('warn of %s', async (_, document, warnings) => {
    expect(codes(await check(document)).filter((one) => !one.startsWith('unknown-rate'))).toEqual([])
    expect(codes(await advise(document))).toEqual(warnings)
  })

  it('warn of nothing in the shipped templates', async () => {
    for (const template of shipped.templates) expect(await advise(template), textOf(template.id)).toEqual([])
  })

  it('take nothing amiss where the price list has no rows of models', async () => {
    const problems = await checkTemplate(normalizeTemplate(picture('fal/flux-dev', { size: 'huge' })), {
      catalog,
      pricing: { current: async () => ({ rates: shipped.pricing.rates }) },
      clock: createFakeClock(Date.UTC(2026, 10, 28)),
      templates: { listed: async () => new Map() },
      intake,
    })
    expect(problems).toEqual([])
  })

  it.each<[what: string, models: string[], params: JsonObject, problems: string[]]>([
    ['takes it by the same name', ['openai/gpt-image-2', 'openai/gpt-image-2'], { size: '1024x1024' }, []],
    [
      'has another word for it',
      ['openai/gpt-image-2', 'fal/flux-dev'],
      { size: '1536x1024', quality: 'high', n: 2 },
      [],
    ],
    [
      'has another word for it, the other way round',
      ['fal/flux-dev', 'openai/gpt-image-2'],
      { image_size: 'square_hd', num_images: 2 },
      [],
    ],
    [
      'has no word for it',
      ['fal/flux-dev', 'openai/gpt-image-2'],
      { seed: 7 },
      ['unknown-parameter /runtimeSteps/0/params/seed'],
    ],
    [
      'would hear it twice',
      ['openai/gpt-image-2', 'fal/flux-dev'],
      { n: 2, num_images: 3 },
      ['unknown-parameter /runtimeSteps/0/params/num_images', 'unknown-parameter /runtimeSteps/0/params/n'],
    ],
    [
      'cannot make that size',
      ['openai/gpt-image-2', 'fal/flux-dev'],
      { size: '3840x2160' },
      ['invalid-parameter /runtimeSteps/0/params/size'],
    ],
    [
      'cannot make that format',
      ['openai/gpt-image-2', 'fal/flux-dev'],
      { output_format: 'webp' },
      ['invalid-parameter /runtimeSteps/0/params/output_format'],
    ],
    [
      'cannot leave the background out',
      ['openai/gpt-image-2', 'fal/flux-dev'],
      { background: 'transparent' },
      ['unknown-parameter /runtimeSteps/0/params/background'],
    ],
  ])('hold the parameters of a step against a fallback that %s', async (_, models, params, problems) => {
    const step = { kind: 'image', provider: 'painter', promptTemplate: 'x', params }
    expect(codes(await check(only(step, { providers: { painter: models } })))).toEqual(problems)
  })

  it('answer all problems at once', async () => {
    const problems = await check(
      changed((document, steps) => {
        document.version = 'soon'
        step(steps, 'render').model = 'nobody/paint-1'
        step(steps, 'raw').tool = 'image.convrt'
      }),
    )
    expect(new Set(problems.map(({ code }) => code))).toEqual(
      new Set(['invalid-version', 'unknown-model', 'unknown-tool']),
    )
  })

  it('accept a rate of 0, and refuse an unknown one', async () => {
    const free = shipped.pricing.rates.map((rate) => ({ ...rate, unit_price_usd: 0 }))
    expect(await check(clipArt, free)).toEqual([])
    const without = shipped.pricing.rates.filter(({ model }) => model !== 'fal/birefnet-light')
    expect((await check(clipArt, without)).map(({ guard, pointer }) => ({ guard, pointer }))).toEqual([
      { guard: 'estimability', pointer: '/runtimeSteps/1' },
    ])
  })

  it('see a cycle through other workflows', async () => {
    const other: JsonObject = { id: 'hooks/other', runtimeSteps: [call('generate-clip-art-asset')] }
    const problems = await check(
      changed((_, steps) => void steps.push(call('hooks/other'))),
      shipped.pricing.rates,
      new Map([['hooks/other', other]]),
    )
    expect(codes(problems)).toContain('cyclic-sub-workflow /runtimeSteps/4/workflow')
  })

  it('never throw, whatever an author wrote', async () => {
    const junk: unknown[] = [null, 1, '', [], {}, [{}], { a: null }, [null], '{steps.x.output}', { type: 5 }]
    for (const key of Object.keys(clipArt)) {
      for (const value of junk) {
        const document = structuredClone(clipArt)
        document[key] = value as never
        expect(Array.isArray(await check(document)), `${key} = ${JSON.stringify(value)}`).toBe(true)
      }
    }
    for (const key of [
      'id',
      'kind',
      'tool',
      'args',
      'model',
      'needs',
      'lookups',
      'retry',
      'params',
      'promptTemplate',
      'provider',
      'workflow',
      'when',
      'forEach',
    ]) {
      for (const value of junk) {
        const document = changed((_, steps) => void ((steps[0] as JsonObject)[key] = value as never))
        expect(Array.isArray(await check(document)), `step.${key} = ${JSON.stringify(value)}`).toBe(true)
      }
    }
  })

  it('are documented: every problem code has its row', async () => {
    const page = await readFile(new URL('../docs/reference/template-problems.md', import.meta.url), 'utf8')
    for (const code of TEMPLATE_WARNINGS) expect(page).toContain(`| \`${code}\` |`)
    for (const code of TEMPLATE_PROBLEMS) {
      expect(page, `docs/reference/template-problems.md describes ${code}`).toContain(`| \`${code}\` |`)
      expect(
        RULES.map(([tested]) => tested),
        `a rule in this file breaks ${code}`,
      ).toContain(code)
    }
  })
})

describe('no template is known to the code', () => {
  it('its ids occur in no source file', async () => {
    const { execFileSync } = await import('node:child_process')
    const root = new URL('..', import.meta.url).pathname
    const files = execFileSync('git', ['ls-files', 'packages', 'apps'], { cwd: root, encoding: 'utf8' })
      .split('\n')
      .filter((file) => file.includes('/src/') && /\.tsx?$/.test(file) && !file.endsWith('.test.ts'))
    expect(files.length).toBeGreaterThan(50)
    const ids = shipped.templates.map((template) => (isJsonObject(template) ? textOf(template.id) : ''))
    for (const file of files) {
      const text = await readFile(`${root}${file}`, 'utf8')
      for (const id of ids) expect(text.includes(id), `${file} names ${id}`).toBe(false)
    }
  })
})
