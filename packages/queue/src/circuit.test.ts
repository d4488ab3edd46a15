import { type Log, StepFailure } from '@fabrique/engine'
import { expect, it, onTestFinished, vi } from 'vitest'
import { createCircuit } from './circuit.ts'

const log: Log = { debug() {}, info() {}, warn() {}, error() {} }
const never = new AbortController().signal
const outage = new StepFailure('server', 'no answer')

function setup() {
  vi.useFakeTimers({ toFake: ['performance'] })
  onTestFinished(() => void vi.useRealTimers())
  const circuit = createCircuit('acme/one', log)
  return {
    circuit,
    pass: (ms: number) => vi.advanceTimersByTime(ms),
    fail: (times: number) => {
      for (let n = 0; n < times; n += 1) circuit.begin(never)(outage)
    },
  }
}

it('opens after five outages in a row, for a second', () => {
  const { circuit, pass, fail } = setup()
  fail(4)
  circuit.begin(never)(null)
  fail(4)
  expect(circuit.waitMs()).toBe(0)
  fail(1)
  expect(circuit.waitMs()).toBe(1_000)
  pass(999)
  expect(circuit.waitMs()).toBe(1)
  pass(1)
  expect(circuit.waitMs()).toBe(0)
})

it('stays open for as long as the provider asks, where that is longer', () => {
  const { circuit, fail } = setup()
  fail(4)
  circuit.begin(never)(new StepFailure('server', 'overloaded', { retryAfterMs: 20_000 }))
  expect(circuit.waitMs()).toBe(20_000)
})

it('lets one call probe, and closes when that went well', () => {
  const { circuit, pass, fail } = setup()
  fail(5)
  pass(1_000)
  const probe = circuit.begin(never)
  expect(circuit.waitMs()).toBeGreaterThan(0)
  probe(null)
  expect(circuit.waitMs()).toBe(0)
  fail(4)
  expect(circuit.waitMs()).toBe(0)
})

it.each(['rate_limit', 'refused', 'invalid', 'bad_output'] as const)(
  'closes when the probe is answered with %s',
  (why) => {
    const { circuit, pass, fail } = setup()
    fail(5)
    pass(1_000)
    circuit.begin(never)(new StepFailure(why, 'no'))
    expect(circuit.waitMs()).toBe(0)
    fail(4)
    expect(circuit.waitMs()).toBe(0)
  },
)

it('stays open twice as long after each probe that failed, up to half a minute, and a second again later', () => {
  const { circuit, pass, fail } = setup()
  fail(5)
  const lengths = Array.from({ length: 7 }, () => {
    pass(circuit.waitMs())
    fail(1)
    return circuit.waitMs()
  })
  expect(lengths).toEqual([2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000])
  pass(30_000)
  circuit.begin(never)(null)
  fail(5)
  expect(circuit.waitMs()).toBe(1_000)
})

it.each([
  ['was stopped', new StepFailure('timeout', 'stopped'), true],
  ['failed for a reason of our own', new Error('ours'), false],
])('lets the next call probe at once when the probe %s', (_how, failure, isStopped) => {
  const { circuit, pass, fail } = setup()
  fail(5)
  pass(1_000)
  const stop = new AbortController()
  const probe = circuit.begin(stop.signal)
  if (isStopped) stop.abort('cancel')
  probe(failure)
  expect(circuit.waitMs()).toBe(0)
  fail(1)
  expect(circuit.waitMs()).toBe(2_000)
})

it('lets another call probe when a probe takes longer than 10 s, so that it can never be stuck', () => {
  const { circuit, pass, fail } = setup()
  fail(5)
  pass(1_000)
  const slow = circuit.begin(never)
  pass(9_999)
  expect(circuit.waitMs()).toBe(1)
  pass(1)
  const second = circuit.begin(never)
  expect(circuit.waitMs()).toBe(10_000)
  second(null)
  slow(outage)
  expect(circuit.waitMs()).toBe(0)
  fail(4)
  expect(circuit.waitMs()).toBe(0)
})

it('learns nothing from calls that began before it opened or closed', () => {
  const { circuit, pass, fail } = setup()
  const old = Array.from({ length: 10 }, () => circuit.begin(never))
  fail(5)
  old[0]?.(outage)
  expect(circuit.waitMs()).toBe(1_000)
  old[1]?.(null)
  expect(circuit.waitMs()).toBe(1_000)
  pass(1_000)
  const probe = circuit.begin(never)
  old[2]?.(outage)
  old[3]?.(null)
  expect(circuit.waitMs()).toBe(10_000)
  probe(null)
  for (const late of old) late(outage)
  expect(circuit.waitMs()).toBe(0)
})
