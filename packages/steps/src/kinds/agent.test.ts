import { type ProviderAnswer, StepFailure, type StepContext, type Tool } from '@fabrique/engine'
import type { JsonObject, JsonValue } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { imageConvert } from '../tools/image-convert.ts'
import { agent, type ToolCall } from './agent.ts'

type Answer = { text?: string; calls?: ToolCall[]; items?: JsonValue[] }

const FIELDS: JsonObject = { promptTemplate: 'Count the words.', tools: ['words.count'] }

const call = (id: string, name: string, args: JsonValue): ToolCall => ({ id, name, arguments: args })
const says = (text: string): Answer => ({ text })
const wants = (...calls: ToolCall[]): Answer => ({ text: '', calls, items: calls.map(({ id }) => ({ own: id })) })

/** A place for one agent: the model answers from a list, the record survives from one execution to the next. */
function createBench(
  answers: Answer[],
  counter: (args: JsonObject) => Promise<JsonValue> = async () => ({ words: 2 }),
) {
  const asked: JsonObject[] = []
  const counted: JsonObject[] = []
  const progress: JsonObject[] = []
  const record = new Map<string, JsonValue>()
  const wordsCount: Tool = {
    name: 'words.count',
    description: 'Counts words.',
    args: z.strictObject({ text: z.string(), language: z.string().default('en') }),
    outputKeys: ['words'],
    async run(args) {
      counted.push(args)
      return await counter(args)
    },
  }
  const elsewhere: Tool = { ...wordsCount, name: 'words.shout' }

  async function run(
    fields: JsonObject = FIELDS,
    signal: AbortSignal = new AbortController().signal,
  ): Promise<JsonObject> {
    const context: StepContext = {
      signal,
      async call(request): Promise<ProviderAnswer> {
        asked.push(structuredClone(request))
        const answer = answers.shift()
        if (answer === undefined) throw new StepFailure('server', 'The model has nothing more to say.')
        return { output: { ...answer }, files: [], usage: [{ unit: 'input_token', quantity: 10 }] }
      },
      async once(name, work) {
        const known = record.get(name)
        if (known !== undefined) return known
        // As it comes back from a record: plain JSON, and nobody's own object.
        const result = JSON.parse(JSON.stringify(await work())) as JsonValue
        record.set(name, result)
        return result
      },
      progress: (payload) => void progress.push(payload),
      tool: (name) => [wordsCount, elsewhere, imageConvert].find((tool) => tool.name === name),
      open: () => Promise.reject(new Error('no file is opened here')),
      store: () => Promise.reject(new Error('no file is made here')),
      callWorkflow: () => Promise.reject(new Error('no run is started here')),
      schema:
        async ({ required }) =>
        async (value) => {
          const names = Array.isArray(required) ? required.map(String) : []
          if (names.every((name) => Object.hasOwn(value as object, name))) return value
          throw new StepFailure('bad_output', 'The answer does not fit.', { billed: 'yes' })
        },
    }
    return (await agent.run(fields, context)) as JsonObject
  }
  return { run, asked, counted, progress, record }
}

/** The results that the model was shown in its nth question, counted from 1, of the turn before. */
function resultsIn(request: JsonObject | undefined): { id: string; output: string }[] {
  const turns = request?.turns as { results: { id: string; output: string }[] }[] | undefined
  return turns?.at(-1)?.results ?? []
}

describe('an agent', () => {
  it('asks in turns, with what its tools answered, until the model calls none', async () => {
    const bench = createBench([
      wants(call('a', 'words.count', { text: 'one two' }), call('b', 'words.count', { text: 'three', language: 'de' })),
      says('There are two.'),
    ])
    const output = await bench.run()
    expect(output).toEqual({ text: 'There are two.', turns: 2, usage: { input_token: 20 } })
    expect(bench.counted).toEqual([
      { text: 'one two', language: 'en' },
      { text: 'three', language: 'de' },
    ])
    const tools = [
      {
        name: 'words.count',
        description: 'Counts words.',
        parameters: {
          type: 'object',
          properties: { text: { type: 'string' }, language: { type: 'string', default: 'en' } },
          required: ['text'],
          additionalProperties: false,
        },
      },
    ]
    const first = { prompt: 'Count the words.', system: null, params: {}, tools, maxTurns: 8, turns: [] }
    const results = [
      { id: 'a', output: '{"words":2}' },
      { id: 'b', output: '{"words":2}' },
    ]
    expect(bench.asked).toEqual([first, { ...first, turns: [{ items: [{ own: 'a' }, { own: 'b' }], results }] }])
    expect(bench.progress).toEqual([
      { turn: 1, max_turns: 8, tools: ['words.count'] },
      { turn: 2, max_turns: 8, tools: [] },
    ])
  })

  it('offers a tool whose arguments depend on each other as one object, which is all that providers take', async () => {
    const bench = createBench([says('Nothing to do.')])
    await bench.run({ ...FIELDS, tools: ['image.convert'] })
    const [{ parameters }] = (bench.asked[0] as { tools: [{ parameters: JsonObject }] }).tools
    expect(parameters).toMatchObject({
      type: 'object',
      required: ['format', 'image'],
      properties: {
        format: { type: 'string', enum: ['webp', 'png', 'jpeg', 'avif', 'gif'] },
        palette: { default: false, type: 'boolean' },
        lossless: {
          anyOf: [
            { default: false, type: 'boolean' },
            { const: true, type: 'boolean' },
          ],
        },
      },
      dependentSchemas: { palette: { properties: { format: { enum: ['png'] } } } },
      additionalProperties: false,
    })
    for (const choice of ['oneOf', 'anyOf', 'allOf', 'enum', 'not']) expect(parameters).not.toHaveProperty(choice)
  })

  it('repeats no answered call in a second execution, whether of the model or of a tool', async () => {
    let isAway = true
    const bench = createBench(
      [
        wants(call('a', 'words.count', { text: 'one' }), call('b', 'words.count', { text: 'two' })),
        wants(call('c', 'words.count', { text: 'three' })),
        says('Done.'),
      ],
      async ({ text }) => {
        if (text === 'two' && isAway) throw new StepFailure('server', 'away')
        return { words: 1 }
      },
    )
    await expect(bench.run()).rejects.toMatchObject({ failureClass: 'server' })
    isAway = false
    expect(await bench.run()).toMatchObject({ text: 'Done.', turns: 3, usage: { input_token: 30 } })
    expect(bench.asked).toHaveLength(3)
    expect(bench.counted.map(({ text }) => text)).toEqual(['one', 'two', 'two', 'three'])
    const output = await bench.run()
    expect(output).toMatchObject({ text: 'Done.', turns: 3, usage: { input_token: 30 } })
    expect([bench.asked.length, bench.counted.length]).toEqual([3, 4])
    expect([...bench.record.keys()]).toEqual(['turn-1', 'turn-1/0', 'turn-1/1', 'turn-2', 'turn-2/0', 'turn-3'])
  })

  it('does nothing by a tool that is not in its list, and tells the model so', async () => {
    const bench = createBench([wants(call('a', 'words.shout', { text: 'hey' })), says('Sorry.')])
    expect(await bench.run()).toMatchObject({ text: 'Sorry.' })
    expect(bench.counted).toEqual([])
    expect(resultsIn(bench.asked[1])).toEqual([
      { id: 'a', output: '{"error":"There is no tool \\"words.shout\\"; there is: words.count."}' },
    ])
    expect(bench.progress[0]).toMatchObject({ tools: [] })
  })

  it('tells the model where its arguments are wrong, instead of failing', async () => {
    const bench = createBench([
      wants(
        call('a', 'words.count', { text: 7 }),
        call('b', 'words.count', null),
        call('c', 'words.count', { txt: 'x' }),
      ),
      says('Never mind.'),
    ])
    await bench.run()
    expect(bench.counted).toEqual([])
    const [wrongType, notJson, wrongKey] = resultsIn(bench.asked[1]).map(({ output }) => JSON.parse(output).error)
    expect(wrongType).toMatch(/^The arguments of words\.count are not right at "\/text": .*string/)
    expect(notJson).toBe('The arguments of words.count are not JSON.')
    expect(wrongKey).toMatch(/at "\/text".*txt/)
  })

  it('tells the model what a tool refuses, and fails by every other failure of a tool', async () => {
    const answers = () => [wants(call('a', 'words.count', { text: 'x' })), says('Well.')]
    const refusing = createBench(answers(), async () => {
      throw new StepFailure('invalid', 'This text cannot be counted.')
    })
    expect(await refusing.run()).toMatchObject({ text: 'Well.' })
    expect(resultsIn(refusing.asked[1])).toEqual([{ id: 'a', output: '{"error":"This text cannot be counted."}' }])
    for (const failure of [new StepFailure('timeout', 'too slow'), new Error('a bug')]) {
      const failing = createBench(answers(), () => Promise.reject(failure))
      await expect(failing.run()).rejects.toBe(failure)
    }
  })

  it('cuts a result beyond 64 KiB at a whole character, and says so', async () => {
    const bench = createBench([wants(call('a', 'words.count', { text: 'x' })), says('Long.')], async () =>
      '€'.repeat(30_000),
    )
    await bench.run()
    const output = resultsIn(bench.asked[1])[0]?.output ?? ''
    expect(Buffer.byteLength(output)).toBeLessThanOrEqual(64 * 1024)
    expect(Buffer.byteLength(output)).toBeGreaterThan(64 * 1024 - 8)
    expect(output).toMatch(/^"€+… \[cut: the first part of 90002 bytes\]$/)
  })

  it('does sixteen calls of a turn, and answers each call beyond them by an error', async () => {
    const calls = Array.from({ length: 18 }, (_, index) => call(`c${index}`, 'words.count', { text: `${index}` }))
    const bench = createBench([wants(...calls), says('Enough.')])
    await bench.run()
    expect(bench.counted).toHaveLength(16)
    const results = resultsIn(bench.asked[1])
    expect(results.map(({ id }) => id)).toEqual(calls.map(({ id }) => id))
    expect(results.slice(16).map(({ output }) => output)).toEqual(Array(2).fill(expect.stringMatching(/^\{"error":/)))
  })

  it('fails past its last turn, without work whose result nobody would read', async () => {
    const bench = createBench(Array.from({ length: 9 }, (_, n) => wants(call(`c${n}`, 'words.count', { text: 'x' }))))
    await expect(bench.run({ ...FIELDS, maxTurns: 3 })).rejects.toMatchObject({
      failureClass: 'bad_output',
      code: 'agent-turns',
      message: expect.stringContaining('3 turns'),
    })
    expect([bench.asked.length, bench.counted.length]).toEqual([3, 2])
    const untold = createBench(Array.from({ length: 9 }, (_, n) => wants(call(`c${n}`, 'words.count', { text: 'x' }))))
    await expect(untold.run()).rejects.toMatchObject({ code: 'agent-turns' })
    expect(untold.asked).toHaveLength(8)
  })

  it.each(['two', '{"wrong":1}'])(
    'answers what fits its output schema, and asks the last turn again where it was %s',
    async (wrong) => {
      const outputSchema: JsonObject = { type: 'object', required: ['words'] }
      const bench = createBench([wants(call('a', 'words.count', { text: 'x' })), says(wrong), says('{"words":2}')])
      const failed = bench.run({ ...FIELDS, outputSchema })
      await expect(failed).rejects.toMatchObject({ failureClass: 'bad_output', billed: 'yes' })
      expect(await bench.run({ ...FIELDS, outputSchema })).toMatchObject({
        text: '{"words":2}',
        json: { words: 2 },
        turns: 2,
      })
      expect(bench.asked).toHaveLength(3)
      expect(bench.asked[2]).toEqual(bench.asked[1])
      expect(bench.asked[0]).toMatchObject({ outputSchema })
      expect(bench.counted).toHaveLength(1)
    },
  )

  it('begins nothing more once it is stopped', async () => {
    const stop = new AbortController()
    const bench = createBench(
      [wants(call('a', 'words.count', { text: 'x' }), call('b', 'words.count', { text: 'y' })), says('Done.')],
      async () => {
        stop.abort(new Error('stopped'))
        return { words: 1 }
      },
    )
    await expect(bench.run(FIELDS, stop.signal)).rejects.toThrow('stopped')
    expect([bench.asked.length, bench.counted.length]).toEqual([1, 1])
  })

  it('does not begin without one of its tools', async () => {
    const bench = createBench([says('Hello.')])
    const failed = bench.run({ ...FIELDS, tools: ['words.weigh'] })
    await expect(failed).rejects.toMatchObject({
      failureClass: 'invalid',
      message: expect.stringContaining('words.weigh'),
    })
    expect(bench.asked).toEqual([])
  })
})

describe("an agent's fields", () => {
  const problemsOf = (over: JsonObject) =>
    agent.fields.safeParse({ ...FIELDS, ...over }).error?.issues.map(({ path }) => path.join('.'))

  it('are one to sixteen tools, each named once, and one to fifty turns', () => {
    expect(problemsOf({})).toBeUndefined()
    expect(
      problemsOf({ maxTurns: 50, system: 'Be brief.', params: {}, outputSchema: {}, model: 'openai/gpt-5' }),
    ).toBeUndefined()
    expect(problemsOf({ tools: [] })).toEqual(['tools'])
    expect(problemsOf({ tools: ['a', 'a'] })).toEqual(['tools'])
    expect(problemsOf({ tools: Array.from({ length: 17 }, (_, n) => `tool-${n}`) })).toEqual(['tools'])
    for (const maxTurns of [0, 51, 1.5]) expect(problemsOf({ maxTurns })).toEqual(['maxTurns'])
    expect(problemsOf({ tool: 'words.count' })).toEqual([''])
  })

  it('tell an estimate the tools and the turns', () => {
    const step = { id: 'count', kind: 'agent', ...FIELDS }
    expect(agent.expects(step)).toMatchObject({ prompt: 'Count the words.', tools: ['words.count'], maxTurns: 8 })
    expect(agent.expects({ ...step, maxTurns: 2 })).toMatchObject({ maxTurns: 2 })
    expect(agent.outputKeys({ ...step, outputSchema: {} }, undefined)).toEqual(['text', 'json', 'turns', 'usage'])
  })
})
