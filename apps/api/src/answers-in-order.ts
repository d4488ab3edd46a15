// Answers a stream of items in their order, although several are being worked on at once.
// Hides the window of unfinished items: its bounds are the memory that it takes, its width what lets writes be coalesced.

export interface Window<Item> {
  /** How many items may be unfinished. */
  itemsMax: number
  /** No further item is begun while the unfinished ones weigh this much. */
  weightMax: number
  weightOf(item: Item): number
}

/**
 * The answers to `items`; those that are ready together come as one text. `answer` must not reject. Reads the next item
 * while no answer is ready, and answers while no item comes, because a client may wait for one answer before it sends
 * the next item. Rejects where `items` does.
 */
export async function* answersInOrder<Item>(
  items: AsyncGenerator<Item, void, void>,
  answer: (item: Item) => Promise<string>,
  window: Window<Item>,
): AsyncGenerator<string, void, void> {
  const unfinished: { weight: number; text: string | undefined; answered: Promise<'answered'> }[] = []
  let weight = 0
  let next: Promise<IteratorResult<Item, void>> | null = readNext()

  function readNext(): Promise<IteratorResult<Item, void>> {
    const reading = items.next()
    // While the window is full nothing awaits this promise, and an unhandled rejection would end the process. The
    // rejection is not lost: the loop meets it when it awaits the promise again.
    reading.catch(() => {})
    return reading
  }

  function begin(item: Item): void {
    const entry = {
      weight: window.weightOf(item),
      text: undefined as string | undefined,
      answered: answer(item).then((text) => {
        entry.text = text
        return 'answered' as const
      }),
    }
    weight += entry.weight
    unfinished.push(entry)
  }

  /** Removes the answered items at the head of the window. */
  function takeAnswered(): string {
    const firstUnanswered = unfinished.findIndex(({ text }) => text === undefined)
    const answered = unfinished.splice(0, firstUnanswered < 0 ? unfinished.length : firstUnanswered)
    for (const entry of answered) weight -= entry.weight
    return answered.map(({ text }) => text).join('')
  }

  try {
    while (next !== null || unfinished.length > 0) {
      const [head] = unfinished
      const isFull = unfinished.length >= window.itemsMax || weight >= window.weightMax
      const first: 'answered' | IteratorResult<Item, void> = await Promise.race([
        ...(head === undefined ? [] : [head.answered]),
        ...(next === null || isFull ? [] : [next]),
      ])
      if (first !== 'answered') {
        if (first.done !== true) begin(first.value)
        next = first.done === true ? null : readNext()
      }
      const text = takeAnswered()
      if (text !== '') yield text
    }
  } finally {
    await items.return()
  }
}
