import type { JsonObject, JsonValue, Step, Template } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { textOf } from '@fabrique/schema'
import { createSubmitter } from './admission/submit.ts'
import { aTemplate } from './testing/factories.ts'
import { createFakeClock } from './testing/fake-clock.ts'
import { createSequentialIds } from './testing/sequential-ids.ts'
import { answerTo, createTestEngine, drive } from './testing/test-engine.ts'

const ask = (id: string, prompt: string, over: Partial<Step> = {}): Step => ({
  id,
  kind: 'ask',
  model: 'acme/one',
  prompt,
  ...over,
})

/** `plan` is read by `draw` alone, `draw` by `sign`, and `extra` by nobody. */
const STEPS = [
  ask('plan', 'plan'),
  ask('draw', 'draw {steps.plan.output.text}'),
  ask('sign', 'sign {steps.draw.output.text} {regenerate.direction?}'),
  ask('extra', 'extra'),
]

/** An API and a worker over one record, each request at a quarter of a dollar. */
function setup(steps: Step[] = STEPS, over: Partial<Template> = {}) {
  const template = aTemplate({
    runtimeSteps: steps,
    artifactSchema: {
      artifactType: 'example',
      files: [{ role: 'result', mimeType: 'text/plain', from: 'steps.sign.output.artifact' }],
    },
    ...over,
  })
  const templates = new Map([
    [template.id, template],
    ['test/other', { ...template, id: 'test/other' }],
  ])
  const asked: string[] = []
  let simulated = false
  const ids = createSequentialIds()
  const world = createTestEngine({
    async call({ request }) {
      asked.push(textOf(request.prompt))
      return answerTo(request)
    },
  })
  const { store } = world
  const workflows = new Map<string, string>()
  const createApi = () =>
    createSubmitter({
      store,
      queue: world.deps.queue,
      clock: createFakeClock(),
      sources: {
        findRunnable: async (id) => templates.get(id) ?? null,
        pricing: async () => ({
          version: '2026.01.01',
          currency: 'USD',
          rates: [{ model: 'acme/one', unit: 'request', unit_price_usd: 0.25, assumed: true }],
        }),
        async earlierRun(_organizationId, runId) {
          if (store.read(runId) === null) return null
          const { checkpoints, artifacts } = await store.history(runId)
          return { workflow: workflows.get(runId) ?? '', checkpoints, artifacts }
        },
      },
      intake: { validate: async (_hash, _schema, value) => ({ value, problems: [], undeclared: [] }) },
      catalog: world.deps.catalog,
      mode: () => (simulated ? 'simulated' : 'live'),
      ids,
    })
  let submitter = createApi()
  const submit = (document: JsonValue, dryRun = false) =>
    submitter.submit({ organizationId: 'system', admin: false, document, dryRun })
  return {
    ...world,
    asked,
    /** Starts the API anew, with or without keys for its providers. */
    simulate(on: boolean) {
      simulated = on
      submitter = createApi()
    },
    /** Submits and executes; answers the run's id, its warnings and what it asked. */
    async run(input: JsonObject = {}, workflow = template.id) {
      const before = asked.length
      const outcome = await submit({ workflow, input, fail_fast: false })
      if (outcome.outcome !== 'accepted') throw new Error('not accepted')
      const { id } = outcome.run
      workflows.set(id, workflow)
      await drive(world)
      return {
        id,
        warnings: outcome.run.warnings,
        asked: asked.slice(before),
        ...(await store.history(id)),
        read: store.read(id),
      }
    },
    dryRun: (input: JsonObject) => submit({ workflow: template.id, input }, true),
  }
}

const regenerate = (parent: { id: string }, keep: string[], over: JsonObject = {}): JsonObject => ({
  regenerate: { parent_run_id: parent.id, keep, ...over },
})

describe('a regeneration that keeps steps', () => {
  it('neither runs nor pays them again, nor what only they read', async () => {
    const { run } = setup()
    const parent = await run()
    expect(parent.asked).toHaveLength(4)
    const child = await run(regenerate(parent, ['draw'], { direction: 'bolder' }))
    expect(child.warnings).toEqual([])
    expect(child.asked.toSorted()).toEqual(['extra', 'sign done: draw done: plan bolder'])
    expect(child.checkpoints.map(({ key, attempt }) => `${key} ${attempt}`).sort()).toEqual([
      'draw 0',
      'extra 1',
      'plan 0',
      'sign 1',
    ])
    expect(child.calls.map(({ stepId }) => stepId).sort()).toEqual(['extra', 'sign'])
    expect(child.read?.events.at(-1)).toMatchObject({
      kind: 'workflow.run.completed',
      payload: { cost: { actual: 0.5 } },
    })
  })

  it('has copies of their files under its own ids, and leaves the parent as it was', async () => {
    const { run, store } = setup()
    const parent = await run()
    const before = await store.history(parent.id)
    const child = await run(regenerate(parent, ['sign']))
    const theirs = parent.artifacts.find(({ stepKey }) => stepKey === 'sign')
    const own = child.artifacts.find(({ stepKey }) => stepKey === 'sign')
    expect(own?.id).not.toBe(theirs?.id)
    expect(own).toMatchObject({
      sha256: theirs?.sha256,
      storageKey: theirs?.storageKey,
      role: 'result',
      status: 'approved',
    })
    expect(child.checkpoints.find(({ key }) => key === 'sign')?.output).toMatchObject({ artifact: { id: own?.id } })
    expect(await store.history(parent.id)).toEqual(before)
  })

  it('does not keep what somebody else reads anew', async () => {
    const { run } = setup([...STEPS, ask('other', 'other {steps.plan.output.text}')])
    const child = await run(regenerate(await run(), ['draw']))
    // `plan` is read by `other` as well, which runs anew: it must see a plan of this run.
    expect(child.asked).toContain('plan')
    expect(child.asked).not.toContain('draw done: plan')
  })

  it('keeps what is an output of the workflow only when it is named', async () => {
    const { run } = setup(STEPS, { outputAliases: { idea: 'steps.plan.output.text' } })
    const child = await run(regenerate(await run(), ['draw']))
    expect(child.asked).toContain('plan')
  })

  it('keeps the items of a list with their step', async () => {
    const { run } = setup([
      ask('each', '{item}', { forEach: { items: ['x', 'y'] } }),
      ask('sign', 'sign {steps.each.output[1].text}'),
    ])
    const parent = await run()
    const child = await run(regenerate(parent, ['each']))
    expect(child.asked).toEqual(['sign done: y'])
    expect(child.checkpoints.map(({ key }) => key).sort()).toEqual(['each', 'each[0]', 'each[1]', 'sign'])
    expect(child.artifacts).toHaveLength(3)
  })

  it.each<[string, string[], RegExp]>([
    ['a step that does not exist', ['drwa'], /"drwa"/],
    ['a step that the parent has not finished', ['draw'], /"draw".*not finished/],
  ])('warns of %s, and runs it', async (_, keep, warning) => {
    const { run } = setup([ask('plan', 'plan'), ask('draw', 'draw', { when: 'has(intake.on)' }), ask('sign', 'sign')])
    const child = await run({ ...regenerate(await run(), keep), on: true })
    expect(child.warnings).toEqual([expect.stringMatching(warning)])
    expect(child.asked.toSorted()).toEqual(['draw', 'plan', 'sign'])
  })

  it('warns where there is no parent, and where nobody hears of the direction', async () => {
    const { run } = setup([ask('sign', 'sign')])
    const { warnings } = await run({ regenerate: { keep: ['sign'], direction: 'bolder' } })
    expect(warnings).toEqual([
      expect.stringContaining('regenerate.keep'),
      expect.stringContaining('regenerate.direction'),
    ])
  })

  it('takes nothing from a run of another workflow, whatever its steps are called', async () => {
    const { run } = setup()
    const child = await run(regenerate(await run({}, 'test/other'), ['draw']))
    expect(child.warnings).toEqual([expect.stringContaining('test/other')])
    expect(child.asked).toHaveLength(4)
  })

  it('is marked as simulated where what it keeps is', async () => {
    const { run, simulate } = setup()
    simulate(true)
    const parent = await run()
    simulate(false)
    const child = await run(regenerate(parent, ['draw']))
    const marks = Object.fromEntries(child.checkpoints.map(({ key, simulated }) => [key, simulated]))
    expect(marks).toEqual({ draw: true, extra: false, plan: true, sign: false })
    expect(child.artifacts.filter(({ stepKey }) => stepKey === 'draw').map(({ simulated }) => simulated)).toEqual([
      true,
    ])
  })

  it('says in a dry run what is reused, paid and free', async () => {
    const { run, dryRun } = setup([...STEPS, { id: 'note', kind: 'note', text: 'x' }])
    const outcome = await dryRun(regenerate(await run(), ['draw']))
    if (outcome.outcome !== 'dry-run') throw new Error('not a dry run')
    const plan = outcome.estimate.steps.map(({ step, plan: what, expected }) => [step, what, expected])
    expect(plan).toEqual([
      ['plan', 'reused', 0],
      ['draw', 'reused', 0],
      ['sign', 'paid', 0.25],
      ['extra', 'paid', 0.25],
      ['note', 'free', 0],
    ])
    expect(outcome.estimate.expected).toBe(0.5)
  })
})
