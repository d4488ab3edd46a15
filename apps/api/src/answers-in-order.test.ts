import { describe, expect, it } from 'vitest'
import { answersInOrder } from './answers-in-order.ts'

const WINDOW = { itemsMax: 3, weightMax: 100, weightOf: (weight: number) => weight }

/** An endless source of this weight that counts what was taken from it. */
function source(weight: number) {
  const seen = { taken: 0, closed: false }
  async function* items() {
    try {
      for (;;) {
        seen.taken += 1
        yield weight
      }
    } finally {
      seen.closed = true
    }
  }
  return { seen, items: items() }
}

/** Lets everything happen that can happen without time passing. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate)
}

describe('answers in order', () => {
  it.each([
    ['in number', 1, 3],
    ['in weight', 60, 2],
    ['one at a time where one alone is too heavy', 500, 1],
  ])('keep what is under way bounded %s', async (_, weight, begun) => {
    const { items } = source(weight)
    let answering = 0
    const answers = answersInOrder(items, () => new Promise(() => void (answering += 1)), WINDOW)
    void answers.next()
    await settle()
    expect(answering).toBe(begun)
  })

  it('come in the order of the questions, whichever is ready first', async () => {
    async function* items() {
      yield* [1, 2, 3]
    }
    const ready = new Map<number, () => void>()
    const answers = answersInOrder(
      items(),
      (item) => new Promise((resolve) => ready.set(item, () => resolve(`${item};`))),
      WINDOW,
    )
    const first = answers.next()
    await settle()
    ready.get(3)?.()
    ready.get(2)?.()
    await settle()
    ready.get(1)?.()
    expect((await first).value).toBe('1;2;3;')
    expect((await answers.next()).done).toBe(true)
  })

  it('come before the next question is asked', async () => {
    let ask: (question: number) => void = () => {}
    async function* items() {
      for (;;) yield await new Promise<number>((resolve) => void (ask = resolve))
    }
    const answers = answersInOrder(items(), async (item) => `${item}`, WINDOW)
    for (const question of [1, 2, 3]) {
      const answered = answers.next()
      await settle()
      ask(question)
      expect((await answered).value).toBe(`${question}`)
    }
  })

  it('end with the fault of a source that breaks off, and never as a rejection that nobody handles', async () => {
    async function* items() {
      yield* [1, 1, 1]
      throw new Error('broke off')
    }
    const finish: ((text: string) => void)[] = []
    const answers = answersInOrder(items(), () => new Promise((resolve) => void finish.push(resolve)), WINDOW)
    const end = answers.next()
    end.catch(() => {})
    // It breaks off while the window is full, when nobody waits for it.
    await settle()
    finish[0]?.('1')
    expect((await end).value).toBe('1')
    await expect(answers.next()).rejects.toThrow('broke off')
  })

  it('close the source when their reader leaves', async () => {
    const { seen, items } = source(1)
    const answers = answersInOrder(items, async () => 'x', WINDOW)
    await answers.next()
    await answers.return()
    expect(seen.closed).toBe(true)
  })
})
