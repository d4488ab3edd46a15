import type { RunGate } from '@fabrique/schema'
import { expect, it } from 'vitest'
import { isHeldBy, openReviewsOf } from './backend.ts'

it('finds the open reviews of a run: its own first, then those of its slots in order', () => {
  const gate = (id: string, status: RunGate['status'], runId?: string): RunGate => ({
    id,
    name: id,
    type: 'review',
    status,
    detail: null,
    ...(runId === undefined ? {} : { run_id: runId }),
  })
  const gates = [gate('b', 'open', 'slot-2'), gate('c', 'open', 'slot-1'), gate('a', 'open'), gate('d', 'approved')]
  const run = { id: 'root', gates }
  expect(openReviewsOf(run).map(({ runId, id }) => `${runId} ${id}`)).toEqual(['root a', 'slot-1 c', 'slot-2 b'])
  expect(['a', 'b', 'd'].map((id) => isHeldBy(run, id))).toEqual([true, false, false])
})
