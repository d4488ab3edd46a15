import { expect, it } from 'vitest'
import type { Lane } from '@fabrique/schema'
import { type Candidate, createSlots, type SlotsOptions } from './slots.ts'

/** Slots, and the ids of those that have one, in the order in which they got it. */
function setup(options: SlotsOptions) {
  const slots = createSlots(options)
  const running: string[] = []
  const away: string[] = []
  let made = 0
  const candidates = new Map<string, Candidate>()
  return {
    slots,
    running,
    away,
    async enter(lane: Lane, organizationId: string | undefined, priority = 51): Promise<string> {
      const id = `${organizationId ?? 'nobody'}-${made++}`
      const candidate = { lane, organizationId, priority, id }
      candidates.set(id, candidate)
      void Promise.resolve(slots.enter(candidate)).then((entered) => (entered ? running : away).push(id))
      await Promise.resolve()
      return id
    },
    async leave(id: string): Promise<void> {
      slots.leave(candidates.get(id) as Candidate)
      await Promise.resolve()
      await Promise.resolve()
    },
  }
}

it('never gives batch the reserved slots, nor those that interactive runs have', async () => {
  const { enter, running } = setup({ concurrency: 4, reserved: 1 })
  for (let n = 0; n < 2; n += 1) await enter('interactive', undefined)
  for (let n = 0; n < 4; n += 1) await enter('batch', undefined)
  expect(running).toHaveLength(4)
})

it('gives a free slot to the interactive lane first, then to the most urgent, then to the oldest', async () => {
  const { enter, leave, running } = setup({ concurrency: 2, reserved: 0 })
  const first = [await enter('batch', undefined), await enter('batch', undefined)]
  const late = await enter('batch', undefined, 90)
  const early = await enter('batch', undefined, 40)
  const urgent = await enter('interactive', undefined, 20)
  for (const id of first) await leave(id)
  expect(running.slice(2)).toEqual([urgent, early])
  await leave(early)
  expect(running.at(-1)).toBe(late)
})

it('gives one organization nine tenths of a lane, and others the rest', async () => {
  const { slots, enter, running } = setup({ concurrency: 25, reserved: 5 })
  for (let n = 0; n < 20; n += 1) await enter('batch', 'a')
  expect(running).toHaveLength(18)
  expect(slots.full('batch')).toEqual(['a'])
  const b = [await enter('batch', 'b'), await enter('batch', 'b')]
  expect(running.slice(18)).toEqual(b)
  // Now it is the lane that has no room, whoever asks.
  expect(slots.full('batch')).toEqual([])
})

it('never leaves an organization without a slot, and counts no share of runs that nobody owns', async () => {
  const { enter, running } = setup({ concurrency: 1, reserved: 1 })
  await enter('batch', 'a')
  expect(running).toEqual(['a-0'])
  const open = setup({ concurrency: 3, reserved: 0, organizationMax: 1 })
  for (let n = 0; n < 3; n += 1) await open.enter('batch', undefined)
  expect(open.running).toHaveLength(3)
})

it('keeps to the number that it is given for an organization', async () => {
  const { enter, leave, running } = setup({ concurrency: 10, reserved: 0, organizationMax: 3 })
  for (let n = 0; n < 5; n += 1) await enter('batch', 'a')
  expect(running).toEqual(['a-0', 'a-1', 'a-2'])
  await leave('a-1')
  expect(running.at(-1)).toBe('a-3')
})

it('turns away the least urgent, and all of them once it is shut', async () => {
  const { slots, enter, away } = setup({ concurrency: 1, reserved: 0 })
  await enter('interactive', 'a')
  for (const priority of [30, 80, 50]) await enter('batch', 'a', priority)
  slots.turnAway('batch', 1)
  await Promise.resolve()
  await Promise.resolve()
  expect(away).toEqual(['a-2'])
  slots.shut()
  await enter('batch', 'a')
  await Promise.resolve()
  expect(away).toHaveLength(4)
  expect(slots.held('batch')).toBe(0)
})
