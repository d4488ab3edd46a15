import { z } from 'zod'
import { describe, expect, it } from 'vitest'
import { createCatalog, type StepKind } from '../catalog.ts'
import { aDefinition, aNewRun } from '../testing/factories.ts'
import { createSequentialIds } from '../testing/sequential-ids.ts'
import { answerTo, createTestEngine } from '../testing/test-engine.ts'

/** A run of one step that tells of its progress and then takes its time. */
async function setup() {
  let end: () => void = () => {}
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  const chatty: StepKind = {
    kind: 'chatty',
    fields: z.strictObject({}),
    renders: [],
    outputKeys: () => null,
    capability: () => null,
    expects: () => ({}),
    async run(_, context) {
      for (let done = 1; done <= 5; done += 1) context.progress({ done })
      await ended
      return {}
    },
  }
  const catalog = createCatalog({ kinds: [chatty], tools: [], providers: [], gates: [] })
  const world = createTestEngine({ call: async ({ request }) => answerTo(request) }, { catalog })
  const definition = aDefinition({ stepInstructions: [{ id: 'a', kind: 'chatty' }] })
  const run = aNewRun(createSequentialIds().next(), { definition })
  await world.store.accept(run)
  const execution = world.engine.execute(run.id, new AbortController().signal)
  const progress = () =>
    (world.store.read(run.id)?.events ?? [])
      .filter(({ kind }) => kind === 'workflow.node.progress')
      .map(({ node_key, payload }) => [node_key, payload.done])
  return { ...world, execution, end, progress, settled: () => new Promise((resolve) => setImmediate(resolve)) }
}

describe('progress', () => {
  it('is written within a second, although nothing else is, and only as it stands then', async () => {
    const { clock, progress, settled, end, execution } = await setup()
    await settled()
    expect(progress()).toEqual([])
    clock.advance(1_000)
    await settled()
    expect(progress()).toEqual([['a', 5]])
    end()
    await execution
  })

  it('of a step that ends before is written with its end, once', async () => {
    const { progress, end, execution } = await setup()
    end()
    await execution
    expect(progress()).toEqual([['a', 5]])
  })
})
