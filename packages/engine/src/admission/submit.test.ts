import { isJsonObject, type JsonValue, type Template } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { createSubmitter, type Submission } from './submit.ts'
import { aCall, aTransition } from '../testing/factories.ts'
import { createFakeClock } from '../testing/fake-clock.ts'
import { createMemoryRunStore } from '../testing/memory-run-store.ts'
import { createSequentialIds } from '../testing/sequential-ids.ts'
import { createTestCatalog } from '../testing/test-engine.ts'

const PARENT = '01ARZ3NDEKTSV4RRFFQ69G5FAV'
const TEMPLATE: Template = {
  id: 'test/example',
  name: 'Example',
  cadence: 'On demand',
  version: '2026.01.01',
  artifactClass: 'visual',
  schemaVersion: 'workflow-schema-v1',
  intakeSchema: { type: 'object' },
  runtimeSteps: [{ id: 'a', kind: 'ask', prompt: 'p', model: 'acme/one' }],
  providers: {},
  gates: [],
  budgetPolicy: { maxPerRunUsd: 1 },
  artifactSchema: { artifactType: 'example', files: [] },
}

function setup(unitPriceUsd: number | null = 0.25, template: Template = TEMPLATE) {
  let listed = true
  const store = createMemoryRunStore({ clock: createFakeClock(), ids: createSequentialIds('9') })
  const delivered: string[] = []
  const submitter = createSubmitter({
    store,
    queue: { enqueue: async (given) => void delivered.push(...given.map(({ runId }) => runId)), publish() {} },
    sources: {
      findRunnable: async (id, version) =>
        listed && id === TEMPLATE.id && (version === null || version === TEMPLATE.version) ? template : null,
      pricing: async () => ({
        version: '2026.01.01',
        currency: 'USD',
        rates:
          unitPriceUsd === null
            ? []
            : [{ model: 'acme/one', unit: 'request', unit_price_usd: unitPriceUsd, assumed: true }],
      }),
      earlierRun: async (organizationId, runId) =>
        organizationId === 'system' && runId === PARENT
          ? { workflow: TEMPLATE.id, checkpoints: [], artifacts: [] }
          : null,
    },
    intake: {
      validate: async (_hash, _schema, value) => ({
        value,
        problems: hasMember(value, 'bad') ? [{ pointer: '/bad', detail: 'is bad' }] : [],
        undeclared: hasMember(value, 'extra') ? ['extra'] : [],
      }),
    },
    catalog: createTestCatalog(),
    mode: () => 'live',
    ids: createSequentialIds(),
  })
  const submit = (document: JsonValue, over: Partial<Submission> = {}) =>
    submitter.submit({ organizationId: 'system', admin: false, document, ...over })
  return { submit, store, delivered, unlist: () => void (listed = false) }
}

const GOOD = { workflow: TEMPLATE.id, input: { prompt: 'a fox' } }

describe('submitting', () => {
  it('accepts a run and delivers it', async () => {
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
