import { FabriqueError, textOf } from '@fabrique/schema'
import { expect, it } from 'vitest'
import type { ArtifactStore } from '../ports.ts'
import { aDefinition, aNewRun } from '../testing/factories.ts'
import { createMemoryArtifactStore } from '../testing/memory-artifact-store.ts'
import { createSequentialIds } from '../testing/sequential-ids.ts'
import { answerTo, asking, createTestEngine, drive } from '../testing/test-engine.ts'

const METHODS = ['put', 'get', 'stage', 'staged', 'ready'] as const

/** A run of two steps, over a store whose one method is away for so many milliseconds from its first use on. */
async function setup(method: (typeof METHODS)[number], awayMs: number) {
  const asked: string[] = []
  const stored = createMemoryArtifactStore()
  let untilMs: number | undefined
  const artifacts: ArtifactStore = {
    ...stored,
    [method]: async (...args: never[]) => {
      untilMs ??= world.clock.nowMs() + awayMs
      if (world.clock.nowMs() < untilMs) throw new FabriqueError('unavailable', 'the disk is full')
      return await (stored[method] as (...given: never[]) => Promise<unknown>)(...args)
    },
  }
  const call = async ({ request }: { request: Parameters<typeof answerTo>[0] }) => {
    asked.push(textOf(request.prompt))
    return answerTo(request)
  }
  const world = createTestEngine({ call }, { artifacts })
  const run = aNewRun(createSequentialIds().next(), { definition: aDefinition(asking([{ id: 'a' }, { id: 'b' }])) })
  await world.store.accept(run)
  world.deliveries.push({ runId: run.id } as never)
  await drive(world)
  return { asked, run: world.store.read(run.id), staged: stored.stagedCalls() }
}

it.each(METHODS.flatMap((method) => [5_000, 90_000].map((awayMs) => ({ method, awayMs }))))(
  'a store that cannot $method for $awayMs ms costs time: the run completes, and nothing is paid twice',
  async ({ method, awayMs }) => {
    const { asked, run, staged } = await setup(method, awayMs)
    expect(run?.status).toBe('completed')
    expect(asked.sort()).toEqual(['do a', 'do b'])
    expect(staged).toEqual([])
  },
)
