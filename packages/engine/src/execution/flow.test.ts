import type { JsonObject, Step } from '@fabrique/schema'
import { textOf } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import type { ProviderRequest } from '../catalog.ts'
import { StepFailure } from '../failure.ts'
import type { NewRun } from '../ports.ts'
import type { Definition } from '../specification.ts'
import { aDefinition, aNewRun } from '../testing/factories.ts'
import { createSequentialIds } from '../testing/sequential-ids.ts'
import { answerTo, asking, createTestEngine, drive } from '../testing/test-engine.ts'

type Serve = (request: ProviderRequest) => Promise<ReturnType<typeof answerTo>>

async function setup(
  definition: Definition,
  serve: Serve = async ({ request }) => answerTo(request),
  over: Partial<NewRun> = {},
) {
  const asked: string[] = []
  const world = createTestEngine({
    async call(request) {
      asked.push(textOf(request.request.prompt))
      return await serve(request)
    },
  })
  const run = aNewRun(createSequentialIds().next(), { definition, ...over })
  await world.store.accept(run)
  const deliver = () =>
    world.deliveries.push({
      runId: run.id,
      organizationId: 'system',
      epoch: 0,
      workflow: run.workflow,
      priority: 50,
      lane: 'batch',
    })
  return {
    ...world,
    asked,
    id: run.id,
    read: () => world.store.read(run.id),
    async execute() {
      deliver()
      await drive(world)
    },
    /** How each step and item came out. */
    async outcomes() {
      const { checkpoints } = await world.store.history(run.id)
      return Object.fromEntries(checkpoints.map(({ key, status }) => [key, status]))
    },
    kinds: () =>
      world.store.read(run.id)?.events.map(({ kind, node_key }) => [kind.slice(9), node_key].join(' ').trim()) ?? [],
  }
}

const noting = (steps: (Partial<Step> & { id: string })[]): Partial<Definition> => ({
  stepInstructions: steps.map((step): Step => ({ kind: 'note', text: step.id, ...step })),
})

const intake = (value: JsonObject): Partial<NewRun> => ({
  instance: { intake: value, regenerate: {}, variantIndex: null, variants: 1 },
})

/** Resolves when `open` is called. */
function gate() {
  let open: () => void = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { open, opened }
}

const stopped = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => {
    if (signal.aborted) reject(new StepFailure('timeout', 'stopped'))
    signal.addEventListener('abort', () => reject(new StepFailure('timeout', 'stopped')))
  })

describe('a condition', () => {
  it.each([
    ['intake.on', 'completed'],
    ['!intake.on', 'skipped'],
  ])('%s leaves its step %s', async (when, status) => {
    const { execute, outcomes, read, kinds, asked } = await setup(
      aDefinition(asking([{ id: 'a', when }])),
      undefined,
      intake({ on: true }),
    )
    await execute()
    expect(await outcomes()).toEqual({ a: status })
    expect(read()?.status).toBe('completed')
    expect(kinds()).toContain(`node.${status} a`)
    expect(asked).toHaveLength(status === 'skipped' ? 0 : 1)
  })

  it.each([true, false])(
    'that cannot be evaluated fails its step before anything is paid, fail_fast %s',
    async (failFast) => {
      const { execute, read, asked, outcomes } = await setup(
        aDefinition(
          asking([
            { id: 'a', when: 'intake.missing > 1' },
            { id: 'b', prompt: '{steps.a.output.text?}' },
          ]),
        ),
        undefined,
        { failFast },
      )
      await execute()
      expect(read()).toMatchObject({ status: 'failed', error: { code: 'condition-failed', node_key: 'a' } })
      expect(await outcomes()).toEqual(failFast ? { a: 'failed' } : { a: 'failed', b: 'skipped' })
      expect(asked).toEqual([])
    },
  )

  it('waits for the steps that it reads, and sees what they answered', async () => {
    const { execute, outcomes } = await setup(
      aDefinition(
        noting([
          { id: 'b', when: 'steps.a.output.text == "a"' },
          { id: 'c', when: 'steps.a.output.text != "a"' },
          { id: 'a' },
        ]),
      ),
    )
    await execute()
    expect(await outcomes()).toEqual({ a: 'completed', b: 'completed', c: 'skipped' })
  })

  it('sees an empty output of a step that was skipped, where it asks first', async () => {
    const { execute, outcomes } = await setup(
      aDefinition(
        noting([
          { id: 'a', when: 'false' },
          { id: 'b', when: '!has(steps.a.output.text)' },
          { id: 'c', when: 'has(steps.a.output.text) && steps.a.output.text == "a"' },
          { id: 'd', when: 'steps.a.output.text == "a"' },
        ]),
      ),
    )
    await execute()
    expect(await outcomes()).toEqual({ a: 'skipped', b: 'completed', c: 'skipped', d: 'skipped' })
  })

  it('is not asked again after a crash: what was skipped stays skipped', async () => {
    const { execute, store, id, outcomes, kinds } = await setup(
      aDefinition({
        ...noting([{ id: 'a', when: 'false' }, { id: 'b' }]),
        gates: [{ id: 'look', name: 'look', type: 'review' }],
      }),
    )
    await execute()
    await store.decide(id, { approve: true, by: 'key' })
    await execute()
    expect(await outcomes()).toEqual({ a: 'skipped', b: 'completed' })
    expect(kinds().filter((kind) => kind === 'node.skipped a')).toHaveLength(1)
  })
})

describe('a skipped step', () => {
  it.each<[string, Partial<Step>, string, unknown]>([
    ['reads it', { text: '{steps.a.output.text}' }, 'skipped', undefined],
    ['needs it', { needs: ['a'] }, 'skipped', undefined],
    ['asks for it softly', { text: 'x{steps.a.output.text?}y' }, 'completed', 'xy'],
    ['asks softly for all of it', { text: '{steps.a.output?}' }, 'completed', null],
    ['asks softly and needs it', { text: '{steps.a.output.text?}', needs: ['a'] }, 'skipped', undefined],
    ['asks softly here and not there', { text: '{steps.a.output.text?} {steps.a.output.text}' }, 'skipped', undefined],
    ['goes through it softly', { forEach: '{steps.a.output.list?}' }, 'failed', undefined],
  ])('leaves a step that %s %o %s', async (_, step, status, text) => {
    const { execute, outcomes, read } = await setup(
      aDefinition(
        noting([
          { id: 'a', when: 'false' },
          { id: 'b', ...step },
        ]),
      ),
    )
    await execute()
    expect((await outcomes()).b).toBe(status)
    if (status === 'completed') expect(read()?.output).toEqual({ b: { text } })
  })

  it('is passed on along hard references, and stops at a soft one', async () => {
    const { execute, outcomes, read } = await setup(
      aDefinition(
        noting([
          { id: 'a', when: 'false' },
          { id: 'b', needs: ['a'] },
          { id: 'c', text: '{steps.b.output.text}' },
          { id: 'd', text: '{steps.c.output.text?}d' },
          { id: 'e', text: '{steps.d.output.text}e' },
        ]),
      ),
    )
    await execute()
    expect(await outcomes()).toEqual({ a: 'skipped', b: 'skipped', c: 'skipped', d: 'completed', e: 'completed' })
    expect(read()).toMatchObject({ status: 'completed', output: { e: { text: 'de' } } })
  })

  it('gives null to an alias', async () => {
    const { execute, read } = await setup(
      aDefinition({
        ...noting([{ id: 'a', when: 'false' }, { id: 'b' }]),
        outputAliases: { x: 'steps.a.output.text' },
      }),
    )
    await execute()
    expect(read()?.output).toEqual({ x: null })
  })

  it('asks for no review and no assertion behind it', async () => {
    const { execute, read } = await setup(
      aDefinition({
        ...noting([{ id: 'a', when: 'false' }, { id: 'b' }]),
        gates: [
          { id: 'look', name: 'look', type: 'review', after: 'a' },
          { id: 'sure', name: 'sure', type: 'assert', after: 'a', assert: 'false' },
        ],
      }),
    )
    await execute()
    expect(read()?.status).toBe('completed')
  })
})

describe('a failed step, with fail_fast false', () => {
  it('takes along everything that reads it, however softly, and nothing else', async () => {
    const { execute, outcomes, read } = await setup(
      aDefinition(
        asking([
          { id: 'a' },
          { id: 'b', prompt: 'b {steps.a.output.text?}' },
          { id: 'c', prompt: 'c {steps.b.output.text?}' },
          { id: 'd' },
          { id: 'e', prompt: 'e {steps.d.output.text}' },
        ]),
      ),
      async ({ request }) => {
        if (request.prompt === 'do a') throw new StepFailure('invalid', 'no')
        return answerTo(request)
      },
      { failFast: false },
    )
    await execute()
    expect(await outcomes()).toEqual({ a: 'failed', b: 'skipped', c: 'skipped', d: 'completed', e: 'completed' })
    expect(read()).toMatchObject({ status: 'failed', error: { node_key: 'a' } })
  })
})

describe('an assertion', () => {
  it.each([
    ['steps.a.output.text == "a"', 'completed'],
    ['steps.a.output.text == "b"', 'failed'],
    ['steps.a.output.nothing == "b"', 'failed'],
  ])('%s behind its step leaves the run %s', async (assert, status) => {
    const { execute, read, store, id, outcomes } = await setup(
      aDefinition({
        ...noting([{ id: 'a' }, { id: 'b', needs: ['a'] }]),
        gates: [{ id: 'sure', name: 'sure', type: 'assert', after: 'a', assert, message: 'it is not a' }],
      }),
    )
    await execute()
    expect(read()?.status).toBe(status)
    expect((await store.history(id)).gates).toMatchObject([
      { id: 'sure', status: status === 'failed' ? 'failed' : 'passed' },
    ])
    expect('b' in (await outcomes())).toBe(status === 'completed')
    if (status === 'failed') expect(read()?.error).toMatchObject({ code: 'gate-failed', node_key: 'a' })
  })

  it.each([
    ['steps.a.output.text == "a" && !has(steps.b.output.text)', 'completed'],
    ['has(steps.b.output.text)', 'failed'],
  ])('%s at the end sees every step, and leaves the run %s', async (assert, status) => {
    const { execute, read } = await setup(
      aDefinition({
        ...noting([{ id: 'a' }, { id: 'b', when: 'false' }]),
        gates: [{ id: 'sure', name: 'sure', type: 'assert', assert }],
      }),
    )
    await execute()
    expect(read()?.status).toBe(status)
  })
})

describe('a gate that judges every step', () => {
  it('stays failed on record, although another step passes it afterwards', async () => {
    const world = await setup(
      aDefinition({
        ...asking([{ id: 'a', prompt: 'stain' }, { id: 'b' }]),
        gates: [{ id: 'clean', name: 'clean', type: 'clean' }],
      }),
      async ({ request }) => {
        while (request.prompt === 'do b' && !world.kinds().includes('node.failed a'))
          await new Promise((resolve) => setImmediate(resolve))
        return answerTo(request)
      },
      { failFast: false },
    )
    await world.execute()
    expect(world.kinds()).toContain('node.completed b')
    const { gates } = await world.store.history(world.id)
    expect(gates).toMatchObject([{ id: 'clean', status: 'failed', detail: 'there is a stain' }])
  })

  it('fails the item of a list that it does not pass', async () => {
    const { execute, read } = await setup(
      aDefinition({
        ...asking([{ id: 'a', forEach: { items: ['x', 'stain'] }, prompt: '{item}' }]),
        gates: [{ id: 'clean', name: 'clean', type: 'clean' }],
      }),
    )
    await execute()
    expect(read()).toMatchObject({ status: 'failed', error: { code: 'gate-failed', node_key: 'a[1]' } })
  })
})

const EACH = (forEach: unknown, over: Partial<Step> = {}) =>
  aDefinition(asking([{ id: 'a', forEach: forEach as Step['forEach'], prompt: '{index}: {item}', ...over }]))

describe('a step with forEach', () => {
  it('answers in the order of its list, whatever the order of the answers', async () => {
    const later: (() => void)[] = []
    const { execute, read } = await setup(EACH(['x', 'y', 'z']), async ({ request }) => {
      await new Promise<void>((resolve) => {
        later.unshift(resolve)
        if (later.length === 3) for (const one of later) one()
      })
      return answerTo(request)
    })
    await execute()
    expect(read()?.output).toMatchObject({
      a: [{ text: 'done: 0: x' }, { text: 'done: 1: y' }, { text: 'done: 2: z' }],
    })
  })

  it.each([1, 3])('has at most %i items at work', async (concurrency) => {
    let [atWork, most] = [0, 0]
    const { execute, asked } = await setup(
      EACH({ items: Array.from({ length: 9 }, (_, n) => n), concurrency }),
      async ({ request }) => {
        atWork += 1
        most = Math.max(most, atWork)
        await new Promise((resolve) => setImmediate(resolve))
        atWork -= 1
        return answerTo(request)
      },
    )
    await execute()
    expect([asked.length, most]).toEqual([9, concurrency])
  })

  it('answers an empty list with an empty list', async () => {
    const { execute, read, asked } = await setup(
      aDefinition(
        asking([
          { id: 'a', forEach: '{intake.list}', prompt: '{item}' },
          { id: 'b', kind: 'note', text: '{steps.a.output}' },
        ]),
      ),
      undefined,
      intake({ list: [] }),
    )
    await execute()
    expect(read()).toMatchObject({ status: 'completed', output: { b: { text: [] } } })
    expect(asked).toEqual([])
  })

  it.each<[string, JsonObject, string]>([
    ['201 items', { list: Array.from({ length: 201 }, () => 1) }, '201 items'],
    ['a text', { list: 'xyz' }, 'no list'],
    ['an object', { list: { 0: 'x', length: 1 } }, 'no list'],
    ['nothing', {}, 'no list'],
  ])('refuses %s before anything is paid', async (_, given, says) => {
    const { execute, read, asked } = await setup(EACH('{intake.list}'), undefined, intake(given))
    await execute()
    expect(read()).toMatchObject({ status: 'failed', error: { code: 'invalid-items', node_key: 'a' } })
    expect(read()?.error?.message).toContain(says)
    expect(asked).toEqual([])
  })

  it('runs 200 items', async () => {
    const { execute, read, asked } = await setup(
      EACH({ items: '{intake.list}', concurrency: 50 }),
      undefined,
      intake({ list: Array.from({ length: 200 }, (_, n) => n) }),
    )
    await execute()
    expect([asked.length, read()?.status]).toEqual([200, 'completed'])
  })

  it('puts items in once: what looks like a placeholder in them is text', async () => {
    const { execute, asked } = await setup(
      EACH('{intake.list}'),
      undefined,
      intake({ list: ['{intake.secret}'], secret: 's' }),
    )
    await execute()
    expect(asked).toEqual(['0: {intake.secret}'])
  })

  it('with fail_fast true stops the items beside a failed one, and starts no more', async () => {
    const { execute, outcomes, asked, read, store, id } = await setup(
      EACH({ items: ['x', 'y', 'z'], concurrency: 2 }),
      async ({ request, signal }) => {
        if (request.prompt === '0: x') throw new StepFailure('invalid', 'no')
        return await stopped(signal)
      },
    )
    await execute()
    expect(asked).toEqual(['0: x', '1: y'])
    expect(await outcomes()).toEqual({ 'a[0]': 'failed', a: 'failed' })
    expect(read()).toMatchObject({ status: 'failed', error: { code: 'invalid', node_key: 'a[0]' } })
    expect((await store.history(id)).calls.map(({ outcome }) => outcome)).toEqual(['failed', 'cancelled'])
  })

  it('with fail_fast false lets the items beside a failed one finish, and starts no more', async () => {
    const { open, opened } = gate()
    const { execute, outcomes, asked } = await setup(
      EACH({ items: ['x', 'y', 'z'], concurrency: 2 }),
      async ({ request }) => {
        if (request.prompt === '0: x') {
          setImmediate(open)
          throw new StepFailure('invalid', 'no')
        }
        await opened
        return answerTo(request)
      },
      { failFast: false },
    )
    await execute()
    expect(asked).toEqual(['0: x', '1: y'])
    expect(await outcomes()).toEqual({ 'a[0]': 'failed', 'a[1]': 'completed', a: 'failed' })
  })

  it('tries an item again by itself', async () => {
    const failing = new Set(['1: y'])
    const { execute, asked, store, id, kinds } = await setup(EACH(['x', 'y', 'z']), async ({ request }) => {
      if (failing.delete(textOf(request.prompt))) throw new StepFailure('server', 'again')
      return answerTo(request)
    })
    await execute()
    expect(asked.toSorted()).toEqual(['0: x', '1: y', '1: y', '2: z'])
    const { checkpoints } = await store.history(id)
    expect(checkpoints.map(({ key, attempt }) => `${key} ${attempt}`).sort()).toEqual([
      'a 1',
      'a[0] 1',
      'a[1] 2',
      'a[2] 1',
    ])
    expect(kinds().filter((kind) => kind.startsWith('node.retrying'))).toEqual(['node.retrying a[1]'])
  })

  it('keeps finished items across a crash, and pays for the others alone', async () => {
    let dies = true
    const { execute, engine, store, id, asked, clock, read } = await setup(
      EACH({ items: ['x', 'y', 'z'], concurrency: 1 }),
      async ({ request }) => {
        if (request.prompt === '1: y' && dies) return await new Promise(() => {})
        return answerTo(request)
      },
    )
    void engine.execute(id, new AbortController().signal)
    while (asked.length < 2) await new Promise((resolve) => setImmediate(resolve))
    dies = false
    clock.advance(61_000)
    await store.recover(10)
    await execute()
    expect(read()?.status).toBe('completed')
    expect(asked).toEqual(['0: x', '1: y', '1: y', '2: z'])
    expect(read()?.output).toMatchObject({
      a: [{ text: 'done: 0: x' }, { text: 'done: 1: y' }, { text: 'done: 2: z' }],
    })
  })

  it('has its whole list judged by the gate that names it', async () => {
    const definition = {
      ...EACH(['x', 'y']),
      gates: [{ id: 'two', name: 'two', type: 'assert', after: 'a', assert: 'size(steps.a.output) == 2' }],
    }
    const { execute, read } = await setup(definition)
    await execute()
    expect(read()).toMatchObject({ status: 'completed' })
  })

  it('is paid once, and its readers start when the review of its whole list is approved', async () => {
    const definition = aDefinition({
      ...asking([
        { id: 'a', forEach: { items: ['x', 'y'] }, prompt: '{item}' },
        { id: 'b', prompt: '{steps.a.output[1].text}' },
      ]),
      gates: [{ id: 'look', name: 'look', type: 'review', after: 'a' }],
    })
    const { execute, read, store, id, asked } = await setup(definition)
    await execute()
    expect(read()?.status).toBe('waiting')
    expect(asked.toSorted()).toEqual(['x', 'y'])
    await store.decide(id, { approve: true, by: 'key' })
    await execute()
    expect(read()?.status).toBe('completed')
    expect(asked).toHaveLength(3)
  })

  it('goes through the list that another such step has made', async () => {
    const { execute, read } = await setup(
      aDefinition(
        noting([
          { id: 'a', forEach: { items: ['x', 'y'] }, text: '{item}{index}' },
          { id: 'b', forEach: '{steps.a.output}', text: '{item.text}!' },
        ]),
      ),
    )
    await execute()
    expect(read()?.output).toEqual({ b: [{ text: 'x0!' }, { text: 'y1!' }] })
  })
})

const PARTS = aDefinition(asking([{ id: 'a', kind: 'parts', count: 3, prompt: 'part' }]))

describe('a part that is done once', () => {
  it('is not done again when a later part fails and the step is tried again', async () => {
    const failing = new Set(['part 3', 'part 2'])
    const { execute, asked, store, id, read } = await setup(PARTS, async ({ request }) => {
      if (failing.delete(textOf(request.prompt))) throw new StepFailure('server', 'again', { billed: 'no' })
      return answerTo(request)
    })
    await execute()
    expect(asked).toEqual(['part 1', 'part 2', 'part 2', 'part 3', 'part 3'])
    const { calls } = await store.history(id)
    expect(calls.map(({ outcome }) => outcome)).toEqual(['succeeded', 'failed', 'succeeded', 'failed', 'succeeded'])
    expect(read()?.events.at(-1)).toMatchObject({ payload: { cost: { actual: 0.75 } } })
  })

  it('is not done again after a crash, and is paid once', async () => {
    let dies = true
    const { execute, engine, store, id, asked, clock, read, artifacts } = await setup(PARTS, async ({ request }) => {
      if (request.prompt === 'part 2' && dies) return await new Promise(() => {})
      return answerTo(request)
    })
    void engine.execute(id, new AbortController().signal)
    while (asked.length < 2) await new Promise((resolve) => setImmediate(resolve))
    dies = false
    clock.advance(61_000)
    await store.recover(10)
    await execute()
    expect(asked).toEqual(['part 1', 'part 2', 'part 2', 'part 3'])
    const { calls } = await store.history(id)
    expect(calls.map(({ outcome }) => outcome)).toEqual(['succeeded', 'unknown', 'succeeded', 'succeeded'])
    expect(read()).toMatchObject({
      status: 'completed',
      output: { a: { texts: ['done: part 1', 'done: part 2', 'done: part 3'] } },
    })
    expect(artifacts.stagedCalls()).toEqual([])
  })
})

describe('a review with a time', () => {
  it.each([
    [undefined, 'failed', 'rejected'],
    ['reject', 'failed', 'rejected'],
    ['approve', 'completed', 'approved'],
  ] as const)('that is over, with onExpiry %s, ends the run %s', async (onExpiry, status, decided) => {
    const review = {
      id: 'look',
      name: 'look',
      type: 'review',
      expiresIn: '30m',
      ...(onExpiry === undefined ? {} : { onExpiry }),
    }
    const { execute, read, store, id, clock, deliveries, engine } = await setup(
      aDefinition({ ...noting([{ id: 'a' }]), gates: [review] }),
    )
    await execute()
    expect(read()?.status).toBe('waiting')
    clock.advance(29 * 60_000)
    await store.recover(10)
    expect(read()?.status).toBe('waiting')
    clock.advance(60_001)
    expect(await store.decide(id, { approve: true, by: 'key' }), 'too late for a person').toBeNull()
    deliveries.push(...(await store.recover(10)).overdue)
    await drive({ clock, deliveries, engine })
    expect(read()?.status).toBe(status)
    expect((await store.history(id)).gates).toMatchObject([{ status: decided }])
  })

  it('that a person decides in time is not decided again by the clock', async () => {
    const review = { id: 'look', name: 'look', type: 'review', expiresIn: '90s', onExpiry: 'reject' }
    const { execute, read, store, id, clock } = await setup(aDefinition({ ...noting([{ id: 'a' }]), gates: [review] }))
    await execute()
    await store.decide(id, { approve: true, by: 'key' })
    clock.advance(100_000)
    await store.recover(10)
    await execute()
    expect(read()?.status).toBe('completed')
  })

  it('behind a step holds back what reads it, and lets the rest go on', async () => {
    const { execute, outcomes, store, id, read } = await setup(
      aDefinition({
        ...noting([{ id: 'a' }, { id: 'b', needs: ['a'] }, { id: 'c' }, { id: 'd', needs: ['c'] }]),
        gates: [{ id: 'look', name: 'look', type: 'review', after: 'a' }],
      }),
    )
    await execute()
    expect(await outcomes()).toEqual({ a: 'completed', c: 'completed', d: 'completed' })
    await store.decide(id, { approve: false, by: 'key' })
    await execute()
    expect(await outcomes()).not.toHaveProperty('b')
    expect(read()).toMatchObject({ status: 'failed', error: { code: 'review-rejected' } })
  })
})
