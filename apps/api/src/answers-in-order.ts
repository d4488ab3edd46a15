// Answering a stream of questions in their order while several are being worked on.
// Hides the window of what is under way: its bound is the memory it takes, its width what lets writes be coalesced.

export interface Window<Item> {
  /** Questions under way at once. */
  itemsMax: number
  /** No further question is begun while those under way weigh this much. */
  weightMax: number
  weightOf(item: Item): number
}

/**
 * The answers to `items`, joined where several are ready. `answer` must not reject. Reads on while nothing is ready and
 * answers while nothing is to be read: an asker may wait for an answer before asking on. Rejects where `items` does.
 */
export async function* answersInOrder<Item>(
  items: AsyncGenerator<Item, void, void>,
  answer: (item: Item) => Promise<string>,
  window: Window<Item>,
): AsyncGenerator<string, void, void> {
  const underWay: { weight: number; text: string | undefined; answered: Promise<'answered'> }[] = []
  let weight = 0
  let next: Promise<IteratorResult<Item, void>> | null = readOn()

  function readOn(): Promise<IteratorResult<Item, void>> {
    const reading = items.next()
    // It may fail while nobody looks, which must not end the process; whoever looks next is told.
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
    underWay.push(entry)
  }

  function takeAnswered(): string {
    const unready = underWay.findIndex(({ text }) => text === undefined)
    const ready = underWay.splice(0, unready < 0 ? underWay.length : unready)
    for (const entry of ready) weight -= entry.weight
    return ready.map(({ text }) => text).join('')
  }

  try {
    while (next !== null || underWay.length > 0) {
      const [head] = underWay
      const full = underWay.length >= window.itemsMax || weight >= window.weightMax
      const first: 'answered' | IteratorResult<Item, void> = await Promise.race([
        ...(head === undefined ? [] : [head.answered]),
        ...(next === null || full ? [] : [next]),
      ])
      if (first !== 'answered') {
        if (first.done !== true) begin(first.value)
        next = first.done === true ? null : readOn()
      }
      const text = takeAnswered()
      if (text !== '') yield text
    }
  } finally {
    await items.return()
  }
}
