import { aNewRun, aTransition, createSequentialIds } from '@fabrique/engine/testing'
import { expect, it, onTestFinished } from 'vitest'
import { createTestDb } from '../testing.ts'
import { createRunReader } from './run-reader.ts'
import { createRunStore } from './run-store.ts'

it('a called run names the step that called it, also where an item of the step did', async () => {
  const { db, drop } = await createTestDb()
  onTestFinished(drop)
  const store = createRunStore(db, createSequentialIds('9'))
  await store.accept(aNewRun('caller'))
  const claimed = await store.claim('caller', 'w', 60_000)
  const children = [{ ...aNewRun('called'), rootRunId: 'caller', callerKey: 'd[1]' }]
  await store.commit(aTransition('caller', claimed?.fence ?? 0, { children }))
  expect(await createRunReader(db).get('system', 'called')).toMatchObject({
    caller_run_id: 'caller',
    caller_step_id: 'd',
  })
})

it('a list of a tree counts the slots of the bundle, and carries nothing that may be large', async () => {
  const { db, drop } = await createTestDb()
  onTestFinished(drop)
  await createRunStore(db, createSequentialIds('9')).accept(
    aNewRun('bundle', { slots: [aNewRun('first'), aNewRun('second')] }),
  )
  const reader = createRunReader(db)
  const runs = await reader.list('system', { root_run_id: 'bundle' }, 10, null)
  expect(Object.fromEntries(runs.map(({ id, summary }) => [id, summary.total]))).toEqual({
    bundle: 2,
    first: 1,
    second: 1,
  })
  for (const listed of runs) {
    const { input: _, outputs: __, state: ___, warnings: ____, ...run } = (await reader.get('system', listed.id)) ?? {}
    expect(listed).toEqual(run)
  }
})
