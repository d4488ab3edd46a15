// What all limits on live calls must hold, as tests.
// Hides where they are counted.
import { describe, expect, it, onTestFinished } from 'vitest'
import { StepFailure } from '../failure.ts'
import type { Limits } from '../ports.ts'

/** Limits that allow provider `acme` three calls at once, and its model `acme/small` one. Nothing else is limited. */
export interface LimitsSetup {
  limits: Limits
  dispose(): Promise<void>
}

const ONE = { provider: 'acme', name: 'acme/one' }
const TWO = { provider: 'acme', name: 'acme/two' }
const SMALL = { provider: 'acme', name: 'acme/small' }
const never = new AbortController().signal

/** Defines the contract's tests for the limits that `open` makes; each test opens its own. */
export function limitsContract(name: string, open: () => Promise<LimitsSetup>): void {
  async function setup() {
    const opened = await open()
    onTestFinished(() => opened.dispose())
    return opened.limits
  }

  describe(name, () => {
    it('lets no more than the limit be under way, whatever the model, and everybody in the end', async () => {
      const limits = await setup()
      const three = Promise.withResolvers<void>()
      let running = 0
      let most = 0
      await Promise.all(
        Array.from({ length: 24 }, async (_, index) => {
          const leave = await limits.enter(index % 2 === 0 ? ONE : TWO, never)
          running += 1
          most = Math.max(most, running)
          if (running === 3) three.resolve()
          await three.promise
          await new Promise((resolve) => setTimeout(resolve, 5))
          running -= 1
          leave(null)
        }),
      )
      expect(most).toBe(3)
      expect(running).toBe(0)
    })

    it("holds a model to its own limit and leaves the provider's other places free", async () => {
      const limits = await setup()
      const leave = await limits.enter(SMALL, never)
      let second = false
      const next = limits.enter(SMALL, never).then((leaveNext) => {
        second = true
        return leaveNext
      })
      const others = await Promise.all([limits.enter(ONE, never), limits.enter(ONE, never)])
      expect(second).toBe(false)
      for (const leaveOther of others) leaveOther(null)
      leave(null)
      ;(await next)(null)
    })

    it('lets in the calls of a model in the order in which they came', async () => {
      const limits = await setup()
      const order: number[] = []
      await Promise.all(
        Array.from({ length: 6 }, async (_, index) => {
          const leave = await limits.enter(SMALL, never)
          order.push(index)
          await new Promise((resolve) => setTimeout(resolve, 5))
          leave(null)
        }),
      )
      expect(order).toEqual([0, 1, 2, 3, 4, 5])
    })

    it('lets a call that comes again go before those that came after it', async () => {
      const limits = await setup()
      const leave = await limits.enter(SMALL, never)
      const order: string[] = []
      const calls = [
        ['third', 3],
        ['first', 1],
        ['second', 2],
      ] as const
      const entered = calls.map(async ([name, sinceMs]) => {
        const leaveIt = await limits.enter(SMALL, never, { patient: true, sinceMs })
        order.push(name)
        leaveIt(null)
      })
      leave(null)
      await Promise.all(entered)
      expect(order).toEqual(['first', 'second', 'third'])
    })

    it('gives a place back once, however often it is left', async () => {
      const limits = await setup()
      const leave = await limits.enter(SMALL, never)
      leave(null)
      leave(null)
      const again = await limits.enter(SMALL, never)
      leave(null)
      const waiting = new AbortController()
      const third = limits.enter(SMALL, waiting.signal)
      const leaveOne = await limits.enter(ONE, never)
      waiting.abort('enough')
      await expect(third).rejects.toBe('enough')
      for (const each of [again, leaveOne]) each(null)
    })

    it('rejects with the reason when aborted, at once, and leaves nothing behind', async () => {
      const limits = await setup()
      await expect(limits.enter(ONE, AbortSignal.abort('before'))).rejects.toBe('before')
      const leave = await limits.enter(SMALL, never)
      const stops = Array.from({ length: 3 }, () => new AbortController())
      const waiting = stops.map(({ signal }) => limits.enter(SMALL, signal))
      const last = limits.enter(SMALL, never)
      // From the middle of the line, from its head, and behind one that is gone.
      for (const index of [1, 0, 2]) {
        stops[index]?.abort(`stop ${index}`)
        await expect(waiting[index]).rejects.toBe(`stop ${index}`)
      }
      leave(null)
      ;(await last)(null)
      ;(await limits.enter(SMALL, never))(null)
    })

    it('begins no call of a model before the pause that the provider asked for is over', async () => {
      const limits = await setup()
      const leave = await limits.enter(ONE, never)
      const began = performance.now()
      leave(new StepFailure('rate_limit', 'slow down', { retryAfterMs: 300 }))
      ;(await limits.enter(TWO, never))(null)
      const other = performance.now() - began
      ;(await limits.enter(ONE, never))(null)
      expect(performance.now() - began).toBeGreaterThanOrEqual(295)
      expect(other).toBeLessThan(295)
    })

    it('rejects at once whoever could ask another model during a pause, and says how long it is', async () => {
      const limits = await setup()
      ;(await limits.enter(ONE, never))(new StepFailure('rate_limit', 'slow down', { retryAfterMs: 90_000 }))
      const refused = await refusalOf(limits.enter(ONE, never, { patient: false }))
      expect(refused).toMatchObject({ failureClass: 'rate_limit', code: 'rate-limit', billed: 'no' })
      expect(refused.retryAfterMs).toBeGreaterThan(80_000)
      expect(refused.retryAfterMs).toBeLessThanOrEqual(90_000)
      ;(await limits.enter(TWO, never, { patient: false }))(null)
    })

    it('lets the patient wait until they are stopped, and those who are not go past them', async () => {
      const limits = await setup()
      ;(await limits.enter(ONE, never))(new StepFailure('rate_limit', 'slow down', { retryAfterMs: 90_000 }))
      const stop = new AbortController()
      const patient = limits.enter(ONE, stop.signal)
      await refusalOf(limits.enter(ONE, never, { patient: false }))
      stop.abort('time is over')
      await expect(patient).rejects.toBe('time is over')
    })

    it('pauses for a moment where the provider limits and does not say for how long', async () => {
      const limits = await setup()
      ;(await limits.enter(ONE, never))(new StepFailure('rate_limit', 'slow down'))
      const refused = await refusalOf(limits.enter(ONE, never, { patient: false }))
      expect(refused).toMatchObject({ failureClass: 'rate_limit' })
      expect(refused.retryAfterMs).toBeLessThanOrEqual(1_000)
      ;(await limits.enter(ONE, never))(null)
    })

    it('spaces calls after a pause, and keeps nobody in a long line who could ask another model', async () => {
      const limits = await setup()
      const [first, second] = await Promise.all([limits.enter(ONE, never), limits.enter(ONE, never)])
      // Of two calls one got through, in 500 ms.
      first(new StepFailure('rate_limit', 'slow down', { retryAfterMs: 500 }))
      const stop = new AbortController()
      ;(await limits.enter(ONE, never))(null)
      const began = performance.now()
      const soon = limits.enter(ONE, never, { patient: false })
      const late = [1, 2].map(() => limits.enter(ONE, stop.signal).catch(() => {}))
      expect(await refusalOf(limits.enter(ONE, never, { patient: false }))).toMatchObject({
        failureClass: 'rate_limit',
      })
      ;(await soon)(null)
      expect(performance.now() - began).toBeGreaterThan(400)
      stop.abort()
      await Promise.all(late)
      second(null)
    })

    it('calls a model that failed five times in a row no more for a second, then with one call first', async () => {
      const limits = await setup()
      for (const failureClass of ['server', 'timeout', 'server', 'server', 'timeout'] as const) {
        ;(await limits.enter(ONE, never))(new StepFailure(failureClass, 'no answer'))
      }
      const opened = performance.now()
      const refused = await refusalOf(limits.enter(ONE, never, { patient: false }))
      expect(refused).toMatchObject({ failureClass: 'server', code: 'circuit-open', billed: 'no' })
      expect(refused.message).toBe('The model "acme/one" kept failing; it is tried again in 1 s.')
      expect(refused.retryAfterMs).toBeGreaterThan(0)
      ;(await limits.enter(TWO, never, { patient: false }))(null)

      const entered: string[] = []
      const waiting = ['probe', 'second', 'third'].map(async (name) => {
        const leave = await limits.enter(ONE, never)
        entered.push(name)
        return leave
      })
      const probe = await waiting[0]
      expect(performance.now() - opened).toBeGreaterThan(990)
      await refusalOf(limits.enter(ONE, never, { patient: false }))
      expect(entered).toEqual(['probe'])
      probe?.(null)
      for (const leave of await Promise.all(waiting)) leave(null)
    })

    it('counts neither what shows that a model answers, nor failures of our own, nor calls that were stopped', async () => {
      const limits = await setup()
      for (const failureClass of ['rate_limit', 'refused', 'invalid', 'bad_output', 'gate', 'internal'] as const) {
        for (let times = 0; times < 6; times += 1) {
          ;(await limits.enter(ONE, never))(new StepFailure(failureClass, 'something else', { retryAfterMs: 1 }))
        }
      }
      for (let times = 0; times < 6; times += 1) {
        const stop = new AbortController()
        const leave = await limits.enter(ONE, stop.signal)
        stop.abort('cancel')
        leave(new StepFailure('timeout', 'stopped'))
        ;(await limits.enter(ONE, never))(new Error('not a failure of a step'))
      }
      ;(await limits.enter(ONE, never, { patient: false }))(null)
    })

    it('begins to count again after a call that went well', async () => {
      const limits = await setup()
      for (let times = 0; times < 3; times += 1) {
        for (let failures = 0; failures < 4; failures += 1) {
          ;(await limits.enter(ONE, never))(new StepFailure('server', 'no answer'))
        }
        ;(await limits.enter(ONE, never, { patient: false }))(null)
      }
    })
  })
}

async function refusalOf(entering: ReturnType<Limits['enter']>): Promise<StepFailure> {
  const refused: unknown = await entering.catch((error: unknown) => error)
  if (!StepFailure.is(refused)) throw new Error('it was let in')
  return refused
}
