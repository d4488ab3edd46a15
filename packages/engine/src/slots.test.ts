import { isTerminal, RUN_STATUSES, type RunStatus } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { joinSlots, type SlotState } from './slots.ts'

const ENDS = ['completed', 'failed', 'cancelled'] as const
const NOTHING = new Set<string>()

function aSlot(index: number, status: RunStatus, over: Partial<SlotState> = {}): SlotState {
  const ended = isTerminal(status)
  return {
    index,
    runId: `run ${index}`,
    workflow: 'test/example',
    status,
    started: status !== 'pending' && status !== 'cancelled',
    error: status === 'failed' ? { code: 'x', message: `slot ${index} broke`, node_key: 'draw' } : null,
    finishedAt: ended ? `2026-01-01T12:00:0${index}.000Z` : null,
    ...over,
  }
}

const slotsOf = (...statuses: RunStatus[]) => statuses.map((status, index) => aSlot(index, status))

function join(slots: SlotState[], over: Partial<Parameters<typeof joinSlots>[0]> = {}, logged = NOTHING) {
  return joinSlots({ status: 'running', failFast: true, cancelRequested: false, ...over }, slots, logged)
}

/** Every way in which three slots can stand. */
const COMBINATIONS = RUN_STATUSES.flatMap((a) => RUN_STATUSES.flatMap((b) => RUN_STATUSES.map((c) => [a, b, c])))

describe('a run of slots, however they stand', () => {
  const everything = COMBINATIONS.flatMap((statuses) =>
    [true, false].flatMap((failFast) =>
      [true, false].map((cancelRequested) => ({ statuses, failFast, cancelRequested })),
    ),
  )

  it('ends when the last of them has ended, and never before', () => {
    for (const { statuses, ...run } of everything) {
      expect(isTerminal(join(slotsOf(...statuses), run).status), String(statuses)).toBe(statuses.every(isTerminal))
    }
  })

  it('stops the rest for a failure with fail_fast, and for nothing else', () => {
    for (const { statuses, ...run } of everything) {
      const { stop } = join(slotsOf(...statuses), run)
      const isOwed = run.failFast && statuses.includes('failed') && !statuses.every(isTerminal)
      expect(stop, JSON.stringify([statuses, run])).toBe(isOwed)
    }
  })

  it('gives an error with a failure, and with no other status', () => {
    for (const { statuses, ...run } of everything) {
      const { status, error } = join(slotsOf(...statuses), run)
      expect(error !== null, JSON.stringify([statuses, run])).toBe(status === 'failed')
    }
  })

  it('is partial only where it completed without one of them', () => {
    for (const { statuses, ...run } of everything) {
      const { status, partial } = join(slotsOf(...statuses), run)
      const isShort = status === 'completed' && statuses.some((one) => one !== 'completed')
      expect(partial, JSON.stringify([statuses, run])).toBe(isShort)
    }
  })

  it('fails with fail_fast for any failure, whoever cancelled the rest', () => {
    for (const a of ENDS) {
      for (const cancelRequested of [true, false]) {
        expect(join(slotsOf(a, 'failed'), { cancelRequested }).status).toBe('failed')
      }
    }
  })
})

describe('without fail_fast', () => {
  const best = (statuses: RunStatus[], cancelRequested = false) =>
    join(slotsOf(...statuses), { failFast: false, cancelRequested })

  it.each<[RunStatus[], RunStatus, boolean]>([
    [['completed', 'completed'], 'completed', false],
    [['completed', 'failed'], 'completed', true],
    [['failed', 'failed'], 'failed', false],
    [['completed', 'cancelled'], 'completed', true],
    [['failed', 'cancelled'], 'failed', false],
    [['cancelled', 'cancelled'], 'cancelled', false],
  ])('%j end as %s', (statuses, status, partial) => {
    expect(best(statuses)).toMatchObject({ status, partial })
  })

  it.each<[RunStatus[], RunStatus]>([
    [['completed', 'cancelled'], 'cancelled'],
    [['failed', 'cancelled'], 'cancelled'],
    [['cancelled', 'cancelled'], 'cancelled'],
    // It came too late to stop anything: what was refused to the caller is not written down either.
    [['completed', 'completed'], 'completed'],
    [['completed', 'failed'], 'completed'],
    [['failed', 'failed'], 'failed'],
  ])('after a cancel of the run, %j end as %s', (statuses, status) => {
    expect(best(statuses, true).status).toBe(status)
  })
})

describe('the error of a run', () => {
  it('is that of the slot which failed first, by time, and names the slot', () => {
    const slots = [
      aSlot(0, 'failed', { finishedAt: '2026-01-01T12:00:09.000Z' }),
      aSlot(1, 'completed'),
      aSlot(2, 'failed', { finishedAt: '2026-01-01T12:00:03.500Z' }),
    ]
    expect(join(slots).error).toEqual({ code: 'x', message: 'slot 2 broke', node_key: 'slots/2' })
  })

  it('is that of the lower index where two failed at once', () => {
    const finishedAt = '2026-01-01T12:00:03.500Z'
    expect(join([aSlot(0, 'failed', { finishedAt }), aSlot(1, 'failed', { finishedAt })]).error?.node_key).toBe(
      'slots/0',
    )
  })

  it('is there even where the slot has none', () => {
    expect(join([aSlot(0, 'failed', { error: null })]).error).toMatchObject({
      code: 'slot-failed',
      node_key: 'slots/0',
    })
  })
})

describe('a run that goes on', () => {
  it.each<[RunStatus[], RunStatus]>([
    [['pending', 'pending'], 'pending'],
    [['running', 'pending'], 'running'],
    [['completed', 'pending'], 'running'],
    [['waiting', 'running'], 'running'],
    [['waiting', 'pending'], 'running'],
    [['waiting', 'waiting'], 'waiting'],
    [['waiting', 'completed'], 'waiting'],
  ])('of %j is %s', (statuses, status) => {
    expect(join(slotsOf(...statuses), { status: 'pending', failFast: false }).status).toBe(status)
  })
})

describe('the log of a run of slots', () => {
  it('names each slot once when it begins and once when it ends, with its run', () => {
    const [open, ...ended] = slotsOf('running', 'completed', 'failed', 'cancelled')
    const { events } = join([open as SlotState, ...ended])
    expect(events.map(({ kind, nodeKey }) => `${kind} ${nodeKey}`)).toEqual([
      'workflow.node.started slots/0',
      'workflow.node.started slots/1',
      'workflow.node.completed slots/1',
      'workflow.node.started slots/2',
      'workflow.node.failed slots/2',
      'workflow.node.skipped slots/3',
    ])
    expect(events[4]?.payload).toMatchObject({ slot: 2, run_id: 'run 2', error: { message: 'slot 2 broke' } })
    const logged = new Set(events.map(({ kind, nodeKey }) => `${kind} ${nodeKey}`))
    expect(join([open as SlotState, ...ended], {}, logged).events).toEqual([])
  })
})
