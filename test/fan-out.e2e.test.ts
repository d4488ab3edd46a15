// Bundles and variants: one run of slots, executed by any worker, joined in the record.
import type { RunResource } from '@fabrique/schema'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Fabrique, startFabrique } from './harness.ts'

let fabrique: Fabrique

beforeAll(async () => {
  fabrique = await startFabrique({ workers: 2 })
})
afterAll(() => fabrique.stop())

const hooks = (topic: string) => ({ workflow: 'hooks/generate', input: { topic, count: 3 } })

async function ended(id: string): Promise<RunResource> {
  await fabrique.waitFor(id, ({ kind }) => /^workflow\.run\.(completed|failed|cancelled)$/.test(kind))
  return await fabrique.run(id)
}

describe('a bundle', () => {
  it('has one output per entry, tagged with its workflow, and a log that names every slot once', async () => {
    const { id } = await fabrique.submit({
      workflow: 'bundle/ad-hoc',
      bundle: [hooks('tea'), hooks('rain'), hooks('bread')],
    })
    const run = await ended(id)
    expect(run).toMatchObject({
      workflow: 'bundle/ad-hoc',
      status: 'completed',
      partial: false,
      summary: { total: 3, completed: 3, failed: 0, cancelled: 0 },
    })
    expect(
      run.outputs.map(({ index, workflow, variant_index, status }) => [index, workflow, variant_index, status]),
    ).toEqual([0, 1, 2].map((index) => [index, 'hooks/generate', null, 'completed']))
    const log = await fabrique.log(id)
    expect(log.map(({ seq }) => seq)).toEqual(log.map((_, index) => index + 1))
    const nodes = log
      .filter(({ node_key }) => node_key !== undefined)
      .map(({ kind, node_key }) => `${kind} ${node_key}`)
    expect(nodes.toSorted()).toEqual(
      [0, 1, 2]
        .flatMap((index) => [`workflow.node.completed slots/${index}`, `workflow.node.started slots/${index}`])
        .toSorted(),
    )
    expect(log.at(-1)?.payload).toMatchObject({ status: 'completed', outputs: run.outputs })
  })
})

describe('variants', () => {
  it('differ, each by its index and its seed', async () => {
    const { id } = await fabrique.submit({ ...hooks('tea'), input: { topic: 'tea', count: 3, variants: 3 } })
    const run = await ended(id)
    expect(run.outputs.map(({ variant_index }) => variant_index)).toEqual([0, 1, 2])
    expect(new Set(run.outputs.map(({ output }) => JSON.stringify(output))).size).toBe(3)
    const slots = await fabrique.request<{ data: RunResource[] }>(`/v1/workflows/runs?root_run_id=${id}`)
    expect(slots.body.data).toHaveLength(4)
  })
})
