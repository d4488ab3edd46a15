import { jsonBytes, type Step } from '@fabrique/schema'
import { expect, it } from 'vitest'
import { aDefinition, aNewRun } from '../testing/factories.ts'
import { createSequentialIds } from '../testing/sequential-ids.ts'
import { createTestEngine, drive } from '../testing/test-engine.ts'
import type { Definition } from '../specification.ts'

/** The error of a run over these steps, with a megabyte of text in its intake; null where it completed. */
async function errorOf(steps: Pick<Step, 'id' | 'text'>[], over: Partial<Definition> = {}) {
  const stepInstructions = steps.map((step): Step => ({ kind: 'note', ...step }))
  const world = createTestEngine({ call: () => Promise.reject(new Error('nothing is asked')) })
  const run = aNewRun(createSequentialIds().next(), {
    definition: aDefinition({ stepInstructions, ...over }),
    instance: { intake: { text: 'x'.repeat(1_000_000) }, regenerate: {}, variantIndex: null, variants: 1 },
  })
  await world.store.accept(run)
  const { id: runId, workflow } = run
  world.deliveries.push({ runId, organizationId: 'system', epoch: 0, workflow, priority: 50, lane: 'batch' })
  await drive(world)
  return world.store.read(runId)?.error ?? null
}

const doubling = (count: number) =>
  Array.from({ length: count }, (_, index) => {
    const before = index === 0 ? '{intake.text}' : `{steps.s${index - 1}.output.text}`
    return { id: `s${index}`, text: [before, before] }
  })

it('an output that doubles at each step ends its run before it fills the memory', async () => {
  expect(await errorOf(doubling(3))).toBeNull()
  expect(await errorOf(doubling(40))).toMatchObject({ code: 'output-too-large', node_key: 's4' })
})

it('outputs that are too large together end their run', async () => {
  const steps = Array.from({ length: 9 }, (_, index) => ({ id: `s${index}`, text: Array(8).fill('{intake.text}') }))
  expect(await errorOf(steps.slice(0, 7))).toBeNull()
  expect(await errorOf(steps)).toMatchObject({ code: 'run-too-large' })
})

it('a text is not filled in beyond what any model reads', async () => {
  const text = 'a: {intake.text} '
  expect(await errorOf([{ id: 's', text: text.repeat(3) }])).toBeNull()
  expect(await errorOf([{ id: 's', text: text.repeat(4_000) }])).toMatchObject({ code: 'prompt-too-large' })
})

it('aliases do not multiply an output without end', async () => {
  const steps = [{ id: 's', text: Array(8).fill('{intake.text}') }]
  const aliases = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, index) => [`a${index}`, 'steps.s.output.text']))
  expect(await errorOf(steps, { outputAliases: aliases(1) })).toBeNull()
  expect(await errorOf(steps, { outputAliases: aliases(500) })).toMatchObject({ code: 'run-too-large' })
})

it('a value is measured no further than asked', () => {
  let value: unknown = 'x'.repeat(1_000)
  for (let level = 0; level < 60; level += 1) value = [value, value]
  expect(jsonBytes(value, 10_000)).toBeGreaterThan(10_000)
  expect(jsonBytes({ a: ['b', 1, null] })).toBeLessThan(50)
})
