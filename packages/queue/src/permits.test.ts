import { expect, it } from 'vitest'
import type { Lane } from '@fabrique/schema'
import { type Candidate, createPermits, type PermitsOptions } from './permits.ts'

/** Permits, and the ids of the jobs that have one, in the order in which they got it. */
function setup(options: PermitsOptions) {
  const permits = createPermits(options)
  const running: string[] = []
  const away: string[] = []
  let made = 0
  const candidates = new Map<string, Candidate>()
  return {
    permits,
    running,
    away,
    async acquire(lane: Lane, organizationId: string | undefined, priority = 51): Promise<string> {
      const id = `${organizationId ?? 'nobody'}-${made++}`
      const candidate = { lane, organizationId, priority, id }
      candidates.set(id, candidate)
      void Promise.resolve(permits.acquire(candidate)).then((acquired) => (acquired ? running : away).push(id))
      await Promise.resolve()
      return id
    },
    async release(id: string): Promise<void> {
      permits.release(candidates.get(id) as Candidate)
      await Promise.resolve()
      await Promise.resolve()
    },
  }
}

it('never gives batch the reserved permits, nor those that interactive runs have', async () => {
  const { acquire, running } = setup({ concurrency: 4, reserved: 1 })
  for (let n = 0; n < 2; n += 1) await acquire('interactive', undefined)
  for (let n = 0; n < 4; n += 1) await acquire('batch', undefined)
  expect(running).toHaveLength(4)
})

it('gives a free permit to the interactive lane first, then to the most urgent, then to the oldest', async () => {
  const { acquire, release, running } = setup({ concurrency: 2, reserved: 0 })
  const first = [await acquire('batch', undefined), await acquire('batch', undefined)]
  const late = await acquire('batch', undefined, 90)
  const early = await acquire('batch', undefined, 40)
  const urgent = await acquire('interactive', undefined, 20)
  for (const id of first) await release(id)
  expect(running.slice(2)).toEqual([urgent, early])
  await release(early)
  expect(running.at(-1)).toBe(late)
})

it('gives one organization nine tenths of a lane, and others the rest', async () => {
  const { permits, acquire, running } = setup({ concurrency: 25, reserved: 5 })
  for (let n = 0; n < 20; n += 1) await acquire('batch', 'a')
  expect(running).toHaveLength(18)
  expect(permits.atTheirShare('batch')).toEqual(['a'])
  const b = [await acquire('batch', 'b'), await acquire('batch', 'b')]
  expect(running.slice(18)).toEqual(b)
  // Now the lane itself has no permit left.
  expect(permits.atTheirShare('batch')).toEqual([])
})

it('never leaves an organization without a permit, and counts no share of jobs that name none', async () => {
  const { acquire, running } = setup({ concurrency: 1, reserved: 1 })
  await acquire('batch', 'a')
  expect(running).toEqual(['a-0'])
  const open = setup({ concurrency: 3, reserved: 0, organizationMax: 1 })
  for (let n = 0; n < 3; n += 1) await open.acquire('batch', undefined)
  expect(open.running).toHaveLength(3)
})

it('keeps to the number that it is given for an organization', async () => {
  const { acquire, release, running } = setup({ concurrency: 10, reserved: 0, organizationMax: 3 })
  for (let n = 0; n < 5; n += 1) await acquire('batch', 'a')
  expect(running).toEqual(['a-0', 'a-1', 'a-2'])
  await release('a-1')
  expect(running.at(-1)).toBe('a-3')
})

it('turns away the least urgent, and all of them once it is closed', async () => {
  const { permits, acquire, away } = setup({ concurrency: 1, reserved: 0 })
  await acquire('interactive', 'a')
  for (const priority of [30, 80, 50]) await acquire('batch', 'a', priority)
  permits.turnAway('batch', 1)
  await Promise.resolve()
  await Promise.resolve()
  expect(away).toEqual(['a-2'])
  permits.close()
  await acquire('batch', 'a')
  await Promise.resolve()
  expect(away).toHaveLength(4)
  expect(permits.waiting('batch')).toBe(0)
})
