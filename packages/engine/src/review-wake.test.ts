import { expect, it } from 'vitest'
import { createEngine } from './execute.ts'
import { aDefinition, aNewRun } from './testing/factories.ts'
import { answerTo, asking, createTestEngine, drive, pinned } from './testing/test-engine.ts'

it('R12 a caller hears within a minute of a decided run whose worker died before telling', async () => {
  const t = createTestEngine({ call: async ({ request }) => answerTo(request) })
  const called = aDefinition({ ...asking([{ id: 'x' }]), gates: [{ id: 'look', name: 'look', type: 'review', after: 'x' }] })
  const definition = aDefinition({ stepInstructions: [{ id: 'd', kind: 'call', input: {} }], subWorkflows: { d: pinned(called) } })
  const run = aNewRun('r1', { definition })
  await t.store.accept(run)
  t.deliveries.push({ runId: run.id, epoch: 0, workflow: run.workflow, priority: 50, lane: 'batch' })
  await drive(t)
  expect(t.store.read('r1')?.status).toBe('waiting')
  const delivery = await t.store.decide('r1', { approve: true, by: 'k' })
  const dies = createEngine({ ...t.deps, store: { ...t.store, tell: async () => { throw new Error('killed') } } })
  await dies.execute(delivery?.runId ?? '', new AbortController().signal).catch(() => {})
  expect(t.store.read(delivery?.runId ?? '')?.status).toBe('completed')
  let waitedS = 0
  for (; waitedS < 4000 && t.store.read('r1')?.status === 'waiting'; waitedS += 10) {
    t.clock.advance(10_000)
    await t.store.recover(10)
  }
  console.log('waited', waitedS)
  expect(waitedS).toBeLessThanOrEqual(60)
})
