import {
  BUNDLE_WORKFLOW,
  isJsonObject,
  type JsonValue,
  type Problem,
  type RunEvent,
  type Template,
} from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import type { Delivery } from '../ports.ts'
import { createSubmitter, estimateResource, type Submission } from './submit.ts'
import { aCall, aTemplate, aTransition } from '../testing/factories.ts'
import { createFakeClock } from '../testing/fake-clock.ts'
import { createMemoryRunStore } from '../testing/memory-run-store.ts'
import { createSequentialIds } from '../testing/sequential-ids.ts'
import type { ProviderMode } from '../template/compile.ts'
import { createTestCatalog } from '../testing/test-engine.ts'

const PARENT = '01ARZ3NDEKTSV4RRFFQ69G5FAV'
const TEMPLATE = aTemplate({ budgetPolicy: { maxPerRunUsd: 1 } })

/** A second workflow, in a version of its own; it asks nobody. */
const OTHER: Template = {
  ...TEMPLATE,
  id: 'test/other',
  version: '2026.02.02',
  runtimeSteps: [{ id: 'b', kind: 'note', text: 'x' }],
}

function setup(unitPriceUsd: number | null = 0.25, template: Template = TEMPLATE, mode: ProviderMode = () => 'live') {
  let listed = true
  const store = createMemoryRunStore({ clock: createFakeClock(), ids: createSequentialIds('9') })
  const delivered: string[] = []
  const deliveries: Delivery[] = []
  const published: RunEvent[] = []
  const earlierAsked: [string, string, number | null][] = []
  const submitter = createSubmitter({
    store,
    clock: createFakeClock(),
    queue: {
      async enqueue(given) {
        deliveries.push(...given)
        delivered.push(...given.map(({ runId }) => runId))
      },
      publish: (events) => void published.push(...events),
    },
    sources: {
      findRunnable: async (id, version) =>
        (listed && [template, OTHER].find((one) => one.id === id && (version === null || version === one.version))) ||
        null,
      pricing: async () => ({
        version: '2026.01.01',
        currency: 'USD',
        rates:
          unitPriceUsd === null
            ? []
            : [{ model: 'acme/one', unit: 'request', unit_price_usd: unitPriceUsd, assumed: true }],
      }),
      async earlierRun(organizationId, runId, variantIndex) {
        earlierAsked.push([organizationId, runId, variantIndex])
        return organizationId === 'system' && runId === PARENT
          ? { workflow: TEMPLATE.id, checkpoints: [], artifacts: [] }
          : null
      },
    },
    intake: {
      validate: async (_hash, _schema, value) => ({
        value,
        problems: hasMember(value, 'bad') ? [{ pointer: '/bad', detail: 'is bad' }] : [],
        undeclared: hasMember(value, 'extra') ? ['extra'] : [],
      }),
    },
    catalog: createTestCatalog(),
    mode,
    ids: createSequentialIds(),
  })
  const submit = (document: JsonValue, over: Partial<Submission> = {}) =>
    submitter.submit({ organizationId: 'system', admin: false, document, ...over })
  const world = { submit, store, delivered, deliveries, published, earlierAsked, unlist: () => void (listed = false) }
  return {
    ...world,
    /** Submits what is accepted, and answers the run. */
    async accepted(document: JsonValue, over: Partial<Submission> = {}) {
      const outcome = await submit(document, over)
      if (outcome.outcome !== 'accepted') throw new Error('not accepted')
      return outcome.run
    },
    /** Submits what is refused, and answers where and why, as `<pointer> <code>`. */
    async refused(document: JsonValue, over: Partial<Submission> = {}) {
      const error: unknown = await submit(document, over).catch((thrown: unknown) => thrown)
      const { problems = [] } = error as { problems?: Problem[] }
      return problems.map(({ pointer, code }) => `${pointer} ${code}`)
    },
  }
}

const GOOD = { workflow: TEMPLATE.id, input: { prompt: 'a fox' } }

describe('submitting', () => {
  it('puts a run on record with its price and its warnings, and delivers it', async () => {
    const { submit, store, delivered } = setup()
    const outcome = await submit({ ...GOOD, input: { prompt: 'a fox', extra: 1 } })
    if (outcome.outcome !== 'accepted') throw new Error('not accepted')
    expect(delivered).toEqual([outcome.run.id])
    expect(store.read(outcome.run.id)?.status).toBe('pending')
    expect(outcome.run).toMatchObject({ estimatedUsd: 0.25, warnings: [expect.stringContaining('input.extra')] })
  })

  it('stores and delivers nothing for a dry run', async () => {
    const { submit, store, delivered } = setup()
    expect(await submit(GOOD, { dryRun: true })).toMatchObject({
      outcome: 'dry-run',
      estimate: { low: 0.25, expected: 0.25, high: 0.25 },
    })
    expect([store.runIds(), delivered]).toEqual([[], []])
  })

  // Each document breaks its own rule and every later one: the first rule broken is what is answered.
  const broken = { bad: 1, regenerate: { parent_run_id: PARENT.replace('A', 'B') } }
  it.each<[string, JsonValue, string, Partial<Submission>]>([
    ['not an object', [], 'validation-failed', {}],
    ['an unknown key', { ...GOOD, workflow: 'no/such', inptu: {}, input: broken }, 'validation-failed', {}],
    ['two names', { ...GOOD, workflow: 'no/such', input: broken }, 'validation-failed', { name: TEMPLATE.id }],
    ['an unknown workflow', { workflow: 'no/such', input: broken }, 'not-found', {}],
    ['an unknown version', { ...GOOD, input: broken }, 'not-found', { version: '2020.01.01' }],
    ['a bad input', { ...GOOD, input: broken }, 'validation-failed', {}],
    ['a foreign parent', { ...GOOD, parent: { run_id: PARENT } }, 'validation-failed', { organizationId: 'other' }],
    ['a cost over the budget', GOOD, 'budget-exceeded', {}],
  ])('refuses %s before anything that comes later', async (_, document, code, over) => {
    const { submit, store, delivered } = setup(100)
    await expect(submit(document, over)).rejects.toMatchObject({ code })
    expect([store.runIds(), delivered]).toEqual([[], []])
  })

  it('names every problem of a spec at once, with its place and the nearest key', async () => {
    const { submit } = setup()
    const document = { ...GOOD, prioriti: 1, priority: 101, input: { variants: 0, output_dir: 'x' } }
    const error = await submit(document).catch((thrown: unknown) => thrown)
    const { problems } = error as { problems: { pointer: string; detail: string }[] }
    expect(problems.map(({ pointer }) => pointer)).toEqual(
      expect.arrayContaining(['/prioriti', '/priority', '/input/variants']),
    )
    expect(problems.find(({ pointer }) => pointer === '/prioriti')?.detail).toContain('"priority"')
  })

  it('answers unknown and foreign parents with one text', async () => {
    const { submit } = setup()
    const text = async (over: Partial<Submission>, runId: string) =>
      await submit({ ...GOOD, parent: { run_id: runId } }, over).catch((error: Error) => error.message)
    expect(await text({ organizationId: 'other' }, PARENT)).toBe(await text({}, PARENT.replace('A', 'B')))
  })

  it('replays a key for the same spec and refuses it for another', async () => {
    const { submit, delivered } = setup()
    const first = await submit(GOOD, { idempotencyKey: 'k' })
    expect(await submit(GOOD, { idempotencyKey: 'k' })).toEqual({ outcome: 'replayed', runId: delivered[0] })
    expect(first.outcome).toBe('accepted')
    const other = { ...GOOD, input: { prompt: 'an owl' } }
    await expect(submit(other, { idempotencyKey: 'k' })).rejects.toMatchObject({ code: 'idempotency-mismatch' })
    expect(delivered).toHaveLength(1)
  })

  it('replays a key even after the workflow was pulled: the run exists all the same', async () => {
    const { submit, delivered, unlist } = setup()
    await submit(GOOD, { idempotencyKey: 'k' })
    unlist()
    expect(await submit(GOOD, { idempotencyKey: 'k' })).toEqual({ outcome: 'replayed', runId: delivered[0] })
    await expect(submit(GOOD, { idempotencyKey: 'new' })).rejects.toMatchObject({ code: 'not-found' })
  })

  it('refuses a run that is estimated above what the day has left, and accepts one that just fits', async () => {
    const { submit, store, delivered } = setup(0.1, { ...TEMPLATE, budgetPolicy: { maxPerDayUsd: 0.3 } })
    const dayCaps = [{ workflow: TEMPLATE.id, maxUsd: 0.3 }]
    for (let n = 1; n <= 3; n += 1) {
      expect((await submit(GOOD)).outcome, `run ${n}`).toBe('accepted')
      const id = delivered.at(-1) ?? ''
      const claim = await store.claim(id, 'w', 60_000)
      const calls = [aCall(`${id}.a.1`, { estimatedUsd: 0.1 })]
      await store.commit(aTransition(id, claim?.fence ?? 0, { calls, dayCaps }))
    }
    await expect(submit(GOOD)).rejects.toMatchObject({
      code: 'budget-exceeded',
      message: expect.stringContaining('$0.3 is spent or reserved'),
    })
    await expect(submit(GOOD, { dryRun: true })).rejects.toMatchObject({ code: 'budget-exceeded' })
    expect((await submit(GOOD, { organizationId: 'other' })).outcome).toBe('accepted')
    expect(delivered).toHaveLength(4)
  })

  it('refuses to run what the current price list cannot price: never at $0', async () => {
    const { submit, delivered } = setup(null)
    await expect(submit(GOOD)).rejects.toMatchObject({ code: 'not-runnable' })
    await expect(submit(GOOD, { dryRun: true })).rejects.toMatchObject({ code: 'not-runnable' })
    expect(delivered).toEqual([])
  })
})

function hasMember(value: JsonValue, name: string): boolean {
  return isJsonObject(value) && value[name] !== undefined
}

describe('an accepted run', () => {
  it('is announced by its first events, and delivered once with its priority and lane', async () => {
    const { submit, deliveries, published } = setup()
    const outcome = await submit({ ...GOOD, priority: 90 })
    if (outcome.outcome !== 'accepted') throw new Error('not accepted')
    const { id } = outcome.run
    expect(deliveries).toEqual([
      { runId: id, organizationId: 'system', epoch: 0, workflow: TEMPLATE.id, priority: 90, lane: 'interactive' },
    ])
    expect(published.map(({ kind, run_id }) => [kind, run_id])).toEqual([
      ['workflow.run.created', id],
      ['workflow.run.queued', id],
    ])
    expect([outcome.createdAt, outcome.pricingVersion]).toEqual([published[0]?.timestamp, '2026.01.01'])
  })

  it('keeps everything that its spec says', async () => {
    const { accepted } = setup()
    const parent = { run_id: PARENT, variant_index: 4 }
    const spec = { ...GOOD, metadata: { order: 7 }, state: { x: 1 }, priority: 10, fail_fast: false, parent }
    const run = await accepted(spec, { idempotencyKey: 'k' })
    expect(run).toMatchObject({
      workflow: TEMPLATE.id,
      workflowVersion: TEMPLATE.version,
      input: GOOD.input,
      metadata: { order: 7 },
      state: { x: 1 },
      priority: 10,
      lane: 'batch',
      failFast: false,
      parentRunId: PARENT,
      parentVariantIndex: 4,
      retryOf: null,
      idempotency: { key: 'k', digest: expect.any(String) },
      instance: { intake: GOOD.input, regenerate: {}, variantIndex: null, variants: 1 },
      slots: [],
    })
  })

  it('has no metadata, state, parent or key where its spec says nothing of them', async () => {
    const { accepted } = setup()
    expect(await accepted(GOOD)).toMatchObject({
      metadata: {},
      state: null,
      parentRunId: null,
      parentVariantIndex: null,
      idempotency: null,
      inherited: null,
    })
  })

  it('is told what to do differently, and not which run it regenerates', async () => {
    const { accepted } = setup()
    const regenerate = { direction: 'bolder', parent_run_id: PARENT, parent_variant_index: 2 }
    const run = await accepted({ ...GOOD, input: { prompt: 'a fox', regenerate } })
    expect(run.instance).toMatchObject({ intake: { prompt: 'a fox' }, regenerate: { direction: 'bolder' } })
    expect([run.instance.regenerate, run.parentRunId, run.parentVariantIndex]).toEqual([
      { direction: 'bolder' },
      PARENT,
      2,
    ])
  })
})

describe('variants', () => {
  const THREE = { workflow: TEMPLATE.id, input: { prompt: 'a fox', variants: 3 } }

  it('are slots of one run of their workflow, each delivered and none of them the run itself', async () => {
    const { accepted, deliveries } = setup()
    const run = await accepted(THREE)
    expect(run).toMatchObject({ workflow: TEMPLATE.id, workflowVersion: TEMPLATE.version, input: THREE.input })
    expect(run.instance).toEqual({ intake: { prompt: 'a fox' }, regenerate: {}, variantIndex: null, variants: 3 })
    expect(run.slots.map(({ instance }) => instance)).toMatchObject(
      [0, 1, 2].map((variantIndex) => ({ intake: { prompt: 'a fox' }, regenerate: {}, variantIndex, variants: 3 })),
    )
    expect(deliveries.map(({ runId }) => runId)).toEqual(run.slots.map(({ id }) => id))
    expect(new Set([run.id, ...run.slots.map(({ id }) => id)]).size).toBe(4)
  })

  it('together cost what each of them costs, in a dry run by step and slot', async () => {
    const { submit, accepted } = setup()
    expect(await accepted(THREE)).toMatchObject({ estimatedUsd: 0.75 })
    const tried = await submit(THREE, { dryRun: true })
    if (tried.outcome !== 'dry-run') throw new Error('not a dry run')
    expect(tried).toMatchObject({
      workflow: TEMPLATE.id,
      workflowVersion: TEMPLATE.version,
      input: THREE.input,
      estimate: { low: 0.75, expected: 0.75, high: 0.75, pricingVersion: '2026.01.01' },
    })
    expect(tried.estimate.steps.map(({ step, expected }) => [step, expected])).toEqual([
      ['slots/0/a', 0.25],
      ['slots/1/a', 0.25],
      ['slots/2/a', 0.25],
    ])
  })

  it('warn of the same thing once', async () => {
    const { accepted } = setup()
    const run = await accepted({ ...THREE, input: { ...THREE.input, extra: 1 } })
    expect(run.warnings).toHaveLength(1)
  })

  it('regenerate the variant of their own number, unless the parent is one variant', async () => {
    const { accepted, earlierAsked } = setup()
    await accepted({ ...THREE, parent: { run_id: PARENT } })
    expect(earlierAsked.splice(0)).toEqual([0, 1, 2].map((index) => ['system', PARENT, index]))
    await accepted({ ...THREE, parent: { run_id: PARENT, variant_index: 0 } })
    expect(earlierAsked.splice(0)).toEqual([0, 0, 0].map((index) => ['system', PARENT, index]))
    await accepted({ ...GOOD, parent: { run_id: PARENT } })
    expect(earlierAsked).toEqual([['system', PARENT, null]])
  })

  it('of one are a plain run', async () => {
    const { accepted, submit } = setup()
    const one = { ...GOOD, input: { prompt: 'a fox', variants: 1 } }
    expect(await accepted(one)).toMatchObject({ slots: [], instance: { variantIndex: null, variants: 1 } })
    const tried = await submit(one, { dryRun: true })
    expect(tried).toMatchObject({ estimate: { steps: [{ step: 'a' }] } })
  })
})

describe('a bundle', () => {
  const entry = (workflow: string, input: JsonValue = { prompt: workflow }) => ({ workflow, input })
  const BUNDLE = { workflow: BUNDLE_WORKFLOW, bundle: [entry(TEMPLATE.id), entry(OTHER.id)] }

  it('is a run of slots, each of its own workflow, input and version', async () => {
    const { accepted, deliveries } = setup()
    const run = await accepted(BUNDLE, { version: '2020.01.01' })
    expect(run).toMatchObject({
      workflow: BUNDLE_WORKFLOW,
      workflowVersion: '2026.01.01',
      input: {},
      estimatedUsd: 0.25,
      inherited: null,
    })
    expect(run.instance).toEqual({ intake: {}, regenerate: {}, variantIndex: null, variants: 2 })
    expect(run.slots.map(({ workflow, workflowVersion, input }) => [workflow, workflowVersion, input])).toEqual([
      [TEMPLATE.id, TEMPLATE.version, { prompt: TEMPLATE.id }],
      [OTHER.id, OTHER.version, { prompt: OTHER.id }],
    ])
    for (const { instance } of run.slots) expect(instance).toMatchObject({ variantIndex: null, variants: 1 })
    expect(deliveries.map(({ runId, workflow }) => [runId, workflow])).toEqual(
      run.slots.map(({ id, workflow }) => [id, workflow]),
    )
  })

  it('executes nothing itself: it has no steps, gates, files, bindings or prices', async () => {
    const { accepted } = setup()
    const { definition, definitionHash, slots } = await accepted(BUNDLE)
    expect(definition).toEqual({
      templateId: BUNDLE_WORKFLOW,
      templateVersion: '2026.01.01',
      schemaVersion: 'workflow-schema-v1',
      artifactClass: 'knowledge',
      providerBindings: {},
      stepInstructions: [],
      gates: [],
      artifactSchema: { artifactType: 'bundle', files: [] },
      fileFormats: [],
      outputAliases: {},
      budgetPolicy: {},
      onUnknownOutcome: 'retry',
      subWorkflows: {},
      pricingVersion: '2026.01.01',
      rates: [],
    })
    expect(slots.map((slot) => slot.definitionHash)).not.toContain(definitionHash)
  })

  it('of one entry is a bundle all the same', async () => {
    const { accepted, submit } = setup()
    const one = { ...BUNDLE, bundle: [entry(TEMPLATE.id)] }
    expect(await accepted(one)).toMatchObject({ workflow: BUNDLE_WORKFLOW, slots: [{ workflow: TEMPLATE.id }] })
    expect(await submit(one, { dryRun: true })).toMatchObject({
      workflow: BUNDLE_WORKFLOW,
      workflowVersion: '2026.01.01',
      input: {},
      estimate: { expected: 0.25, steps: [{ step: 'slots/0/a' }] },
    })
  })

  it.each([
    ['live', false],
    ['simulated', true],
  ] as const)('with one slot that is %s has simulated: %s', async (mode, simulated) => {
    const { accepted } = setup(0.25, TEMPLATE, () => mode)
    const run = await accepted(BUNDLE)
    expect([run.simulated, ...run.slots.map((slot) => slot.simulated)]).toEqual([simulated, simulated, false])
  })

  it('names the problems of all its entries at once, each by its place', async () => {
    const { refused } = setup()
    const bundle = [
      entry(TEMPLATE.id),
      entry('no/such'),
      entry(TEMPLATE.id, { bad: 1 }),
      entry(TEMPLATE.id, { regenerate: { parent_run_id: PARENT.replace('A', 'B') } }),
    ]
    expect(await refused({ ...BUNDLE, bundle })).toEqual([
      '/bundle/1/workflow unknown-workflow',
      '/bundle/2/input/bad undefined',
      '/bundle/3/input/regenerate/parent_run_id unknown-parent',
    ])
  })

  it('is refused as one for a fault that no entry names, such as its price', async () => {
    const { submit } = setup(100)
    await expect(submit(BUNDLE)).rejects.toMatchObject({ code: 'budget-exceeded' })
  })

  it('regenerates slot by slot, except where an entry names a parent of its own', async () => {
    const { accepted, earlierAsked } = setup()
    const own = entry(TEMPLATE.id, { regenerate: { parent_run_id: PARENT, parent_variant_index: 7 } })
    await accepted({ ...BUNDLE, bundle: [entry(TEMPLATE.id), entry(TEMPLATE.id), own], parent: { run_id: PARENT } })
    expect(earlierAsked).toEqual([0, 1, 7].map((index) => ['system', PARENT, index]))
  })
})

describe('a problem of a run-spec', () => {
  it.each<[string, JsonValue, Partial<Submission>, string[]]>([
    ['not an object', 'text', {}, [' not-an-object']],
    ['no workflow', { input: {} }, {}, ['/workflow missing']],
    ['two workflows', GOOD, { name: 'test/other' }, ['/workflow name-mismatch']],
    ['an input that does not fit', { ...GOOD, input: { bad: 1 } }, {}, ['/input/bad undefined']],
    [
      'an unknown parent',
      { ...GOOD, parent: { run_id: PARENT.replace('A', 'B') } },
      {},
      ['/parent/run_id unknown-parent'],
    ],
    [
      'an unknown parent in the input',
      { ...GOOD, input: { regenerate: { parent_run_id: PARENT.replace('A', 'B') } } },
      {},
      ['/input/regenerate/parent_run_id unknown-parent'],
    ],
  ])('is placed where the document has it: %s', async (_, document, over, problems) => {
    const { refused } = setup()
    expect(await refused(document, over)).toEqual(problems)
  })

  it.each<[string, JsonValue, string]>([
    ['the spec', { ...GOOD, inptu: {} }, '"input"'],
    ['the spec, where no key is near', { ...GOOD, zzzzzzzzzz: 1 }, 'the keys are workflow, input, metadata, priority,'],
    ['its parent', { ...GOOD, parent: { run_id: PARENT, variant_indx: 1 } }, '"variant_index"'],
    ['its parent', { ...GOOD, parent: { run_id: PARENT, run_i: 1 } }, '"run_id"'],
    ['a regeneration', { ...GOOD, input: { regenerate: { direktion: 'x' } } }, '"direction"'],
    ['a regeneration', { ...GOOD, input: { regenerate: { kep: [] } } }, '"keep"'],
    ['a regeneration', { ...GOOD, input: { regenerate: { extra_instruction: 'x' } } }, '"extra_instructions"'],
    ['a regeneration', { ...GOOD, input: { regenerate: { parent_run: 'x' } } }, '"parent_run_id"'],
    ['a regeneration', { ...GOOD, input: { regenerate: { parent_variant_indx: 1 } } }, '"parent_variant_index"'],
    ['an entry', { bundle: [{ workflow: TEMPLATE.id, input: {}, inptu: {} }] }, '"input"'],
    ['an entry', { bundle: [{ workflow: TEMPLATE.id, input: {}, workfow: '' }] }, '"workflow"'],
  ])('proposes the nearest key of %s', async (_, document, key) => {
    const { submit } = setup()
    const error: unknown = await submit(document).catch((thrown: unknown) => thrown)
    const { problems } = error as { problems: Problem[] }
    expect(problems.find(({ code }) => code === 'unknown-key')?.detail).toContain(key)
  })

  it('proposes no key that is for editors only', async () => {
    const { submit } = setup()
    const error: unknown = await submit({ ...GOOD, $schem: '' }).catch((thrown: unknown) => thrown)
    expect((error as { problems: Problem[] }).problems[0]?.detail).not.toContain('"$schema"')
  })
})

describe('the name of a workflow from outside the document', () => {
  it('stands for the missing one, and may repeat it', async () => {
    const { accepted } = setup()
    expect(await accepted({ input: {} }, { name: TEMPLATE.id })).toMatchObject({ workflow: TEMPLATE.id })
    expect(await accepted(GOOD, { name: TEMPLATE.id })).toMatchObject({ workflow: TEMPLATE.id })
  })

  it('takes the version with it', async () => {
    const { accepted, submit } = setup()
    expect(await accepted(GOOD, { version: TEMPLATE.version })).toMatchObject({ workflowVersion: TEMPLATE.version })
    await expect(submit(GOOD, { version: '2020.01.01' })).rejects.toMatchObject({ code: 'not-found' })
  })
})

describe('a parent that is named twice', () => {
  const regenerating = (regenerate: JsonValue, parent: JsonValue) => ({ ...GOOD, input: { regenerate }, parent })

  it.each<[string, JsonValue, JsonValue]>([
    ['another run', { parent_run_id: PARENT.replace('A', 'B') }, { run_id: PARENT }],
    ['another variant', { parent_run_id: PARENT, parent_variant_index: 1 }, { run_id: PARENT, variant_index: 2 }],
    ['a variant of the whole', { parent_run_id: PARENT, parent_variant_index: 1 }, { run_id: PARENT }],
  ])('is refused where the two differ: %s', async (_, regenerate, parent) => {
    const { refused } = setup()
    expect(await refused(regenerating(regenerate, parent))).toEqual(['/parent parent-mismatch'])
  })

  it.each<[string, JsonValue, JsonValue, number | null]>([
    ['the same run', { parent_run_id: PARENT }, { run_id: PARENT }, null],
    ['the variant in one place', { parent_run_id: PARENT }, { run_id: PARENT, variant_index: 2 }, 2],
  ])('is taken where they agree: %s', async (_, regenerate, parent, parentVariantIndex) => {
    const { accepted } = setup()
    expect(await accepted(regenerating(regenerate, parent))).toMatchObject({ parentRunId: PARENT, parentVariantIndex })
  })
})

describe('an Idempotency-Key', () => {
  it('stands for one run also where two submits race', async () => {
    const { submit, delivered, published } = setup()
    const outcomes = await Promise.all([1, 2].map(() => submit(GOOD, { idempotencyKey: 'k' })))
    expect(outcomes.map(({ outcome }) => outcome).sort()).toEqual(['accepted', 'replayed'])
    expect(outcomes.find(({ outcome }) => outcome === 'replayed')).toEqual({ outcome: 'replayed', runId: delivered[0] })
    expect([delivered.length, published.length]).toEqual([1, 2])
  })

  it('is refused to the later of two different submits that race', async () => {
    const { submit, delivered } = setup()
    const other = { ...GOOD, input: { prompt: 'an owl' } }
    const [first, second] = await Promise.allSettled([GOOD, other].map((one) => submit(one, { idempotencyKey: 'k' })))
    expect(first?.status).toBe('fulfilled')
    expect(second).toMatchObject({ reason: { code: 'idempotency-mismatch' } })
    expect(delivered).toHaveLength(1)
  })

  it('is for one version of a workflow: the same spec for another is a different request', async () => {
    const { submit } = setup()
    await submit(GOOD, { idempotencyKey: 'k' })
    await expect(submit(GOOD, { idempotencyKey: 'k', version: TEMPLATE.version })).rejects.toMatchObject({
      code: 'idempotency-mismatch',
    })
  })

  it('neither answers nor is used up by a dry run', async () => {
    const { submit } = setup()
    expect((await submit(GOOD, { idempotencyKey: 'k', dryRun: true })).outcome).toBe('dry-run')
    expect((await submit(GOOD, { idempotencyKey: 'k' })).outcome).toBe('accepted')
    expect((await submit(GOOD, { idempotencyKey: 'k', dryRun: true })).outcome).toBe('dry-run')
  })
})

describe('an estimate', () => {
  it('is spelled for the outside with its currency and price list', () => {
    const estimate = { low: 1, expected: 2, high: 3, pricingVersion: '2026.01.01', steps: [] }
    expect(estimateResource(estimate)).toEqual({
      currency: 'USD',
      low: 1,
      expected: 2,
      high: 3,
      pricing_version: '2026.01.01',
      steps: [],
    })
  })
})
