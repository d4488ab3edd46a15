// What every run queue must hold, as tests. It may lose and repeat, so only what the engine relies on is here.
// Hides how an adapter's deliveries are taken.
import type { RunEvent } from '@fabrique/schema'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { Delivery, RunQueue } from '../ports.ts'

/** An empty queue, and its other end. */
export interface RunQueueSetup {
  queue: RunQueue
  /** The run id of the next delivery, interactive lane first, or null; it counts as done at once. */
  take(): Promise<string | null>
  /** Begins to watch a run; resolves once nothing more can be missed, `first` with what was published first. */
  watch(runId: string): Promise<{ first: Promise<RunEvent[]> }>
  dispose(): Promise<void>
}

function aDelivery(runId: string, priority = 50, over: Partial<Delivery> = {}): Delivery {
  return {
    runId,
    organizationId: 'system',
    epoch: 0,
    workflow: 'test/example',
    priority,
    lane: priority >= 75 ? 'interactive' : 'batch',
    ...over,
  }
}

/** Defines the contract's tests for the queue that `open` makes; each test opens its own. */
export function runQueueContract(name: string, open: () => Promise<RunQueueSetup>): void {
  async function setup() {
    const opened = await open()
    onTestFinished(() => opened.dispose())
    return {
      ...opened,
      async drained(): Promise<string[]> {
        const ids: string[] = []
        for (let id = await opened.take(); id !== null; id = await opened.take()) ids.push(id)
        return ids
      },
    }
  }

  describe(name, () => {
    it('delivers what was handed over, once', async () => {
      const { queue, drained } = await setup()
      await queue.enqueue([aDelivery('r1'), aDelivery('r2')])
      await queue.enqueue([aDelivery('r3')])
      await queue.enqueue([])
      expect((await drained()).sort()).toEqual(['r1', 'r2', 'r3'])
    })

    it('delivers higher priorities first and equal ones in their order', async () => {
      const { queue, drained } = await setup()
      await queue.enqueue([aDelivery('low', 10), aDelivery('mid-1'), aDelivery('top', 100)])
      await queue.enqueue([aDelivery('mid-2'), aDelivery('high', 80), aDelivery('none', 0)])
      expect(await drained()).toEqual(['top', 'high', 'mid-1', 'mid-2', 'low', 'none'])
    })

    it('delivers a run again under its next epoch, even after the first was done', async () => {
      const { queue, drained } = await setup()
      await queue.enqueue([aDelivery('r1')])
      expect(await drained()).toEqual(['r1'])
      await queue.enqueue([aDelivery('r1', 50, { epoch: 1 })])
      expect(await drained()).toEqual(['r1'])
    })

    it('names the deliveries that no job stands for', async () => {
      const { queue } = await setup()
      await queue.enqueue([aDelivery('r1'), aDelivery('r2', 90)])
      const lost = [aDelivery('r3'), aDelivery('r4', 90)]
      expect(await queue.missing([aDelivery('r1'), ...lost, aDelivery('r2', 90)])).toEqual(lost)
      expect(await queue.missing([])).toEqual([])
    })

    it('delivers again what was taken and is still owed, under the same epoch', async () => {
      const { queue, drained } = await setup()
      await queue.enqueue([aDelivery('r1')])
      expect(await drained()).toEqual(['r1'])
      expect(await queue.missing([aDelivery('r1')])).toEqual([aDelivery('r1')])
      await queue.enqueue([aDelivery('r1')])
      expect(await drained()).toEqual(['r1'])
    })

    it('says at most once that it came back empty', async () => {
      const { queue } = await setup()
      await queue.cameBackEmpty()
      expect(await queue.cameBackEmpty()).toBe(false)
    })

    it('tells those who watch a run of its events, in order', async () => {
      const { queue, watch } = await setup()
      const event = (runId: string, seq: number): RunEvent => ({
        id: `${runId}-${seq}`,
        seq,
        kind: 'workflow.node.started',
        run_id: runId,
        root_run_id: runId,
        timestamp: '2026-01-01T12:00:00.000Z',
        payload: { step: 'ü' },
      })
      const { first } = await watch('r1')
      queue.publish([event('r2', 1), event('r1', 1), event('r1', 2)])
      expect((await first).filter(({ run_id }) => run_id === 'r1')).toEqual([event('r1', 1), event('r1', 2)])
    })
  })
}
