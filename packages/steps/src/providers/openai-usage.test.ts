import type { Outlook } from '@fabrique/engine'
import type { JsonObject, Unit } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { openai } from './openai.ts'

type Seen = Partial<Outlook> & { usual?: JsonObject; pricedIn?: Unit[] }

function usageOf(name: string, request: JsonObject, { usual, pricedIn, ...seen }: Seen = {}) {
  const model = openai.provider.model(name)
  if (model === undefined) throw new Error('there is no such model')
  const priced = { ...model, ...(usual && { usual }), ...(pricedIn && { pricedIn }) }
  return openai.provider.expectedUsage(priced, request, { at: 'expected', answer: '', files: [], ...seen })
}
const WRITER = 'openai/gpt-6.1-terra'
const ANSWER = 'y'.repeat(4400)
const tokensOf = (request: JsonObject, seen: Seen = { answer: ANSWER }) =>
  usageOf(WRITER, request, seen).map(({ quantity }) => quantity)

describe('what a text of OpenAI is expected to use', () => {
  const text = { prompt: 'x'.repeat(440), system: '', params: {} }

  it('is its prompt with the schema, and its answer, at most what its limit allows', () => {
    const limited = { ...text, params: { max_output_tokens: 600 } }
    expect(tokensOf(text)).toEqual([100, 1000])
    expect(tokensOf(limited)).toEqual([100, 600])
    expect(tokensOf(limited, { at: 'low', answer: 'y'.repeat(44) })).toEqual([75, 10])
    expect(tokensOf(limited, { at: 'high', answer: ANSWER })).toEqual([200, 600])
    expect(tokensOf(text, { at: 'high', answer: ANSWER, usual: { max_output_tokens: 3000 } })).toEqual([200, 3000])
    const schema = {
      type: 'object',
      required: ['a'],
      additionalProperties: false,
      properties: { a: { type: 'string' } },
    }
    expect(tokensOf({ ...text, outputSchema: schema })[0]).toBeGreaterThan(115)
    expect(tokensOf({ ...text, outputSchema: schema })[0]).toBeLessThan(130)
  })

  it.each([
    [undefined, 1000],
    ['none', 1000],
    ['minimal', 1112],
    ['low', 1250],
    ['medium', 2000],
    ['high', 5000],
    ['xhigh', 20_000],
  ])('is with an effort of %s %d tokens for an answer of a thousand', (effort, output) => {
    const params = { max_output_tokens: 100_000, ...(effort === undefined ? {} : { reasoning: { effort } }) }
    expect(tokensOf({ ...text, params })[1]).toBe(output)
  })

  it('has the effort that is usual for the model where the request names none, and a block of thought at least', () => {
    const params = { max_output_tokens: 100_000 }
    expect(tokensOf({ ...text, params }, { answer: ANSWER, usual: { reasoning_effort: 'medium' } })[1]).toBe(2000)
    expect(tokensOf({ ...text, params: { reasoning: { effort: 'low' } } }, { answer: 'y'.repeat(44) })[1]).toBe(74)
  })

  it('is for an agent as for a text, times its turns, of which three are likely; each reads those before', () => {
    const seen: Seen = { answer: ANSWER }
    expect(tokensOf({ ...text, tools: ['text.save'], maxTurns: 2 }, seen)).toEqual([100 * 2 + 1000, 2000])
    expect(tokensOf({ ...text, tools: ['text.save'], maxTurns: 50 }, seen)).toEqual([100 * 3 + 3000, 3000])
    const most = tokensOf(
      { ...text, tools: [], maxTurns: 50 },
      { ...seen, at: 'high', usual: { max_output_tokens: 10 } },
    )
    expect(most).toEqual([200 * 50 + (10 * 50 * 49) / 2, 500])
  })

  it('is for one of its turns what has been said so far, once', () => {
    const turn = { ...text, tools: ['text.save'], maxTurns: 50 }
    const [first = 0, answered] = tokensOf({ ...turn, turns: [] })
    const [later] = tokensOf({ ...turn, turns: [{ items: [], results: [{ id: 'a', output: 'y'.repeat(4400) }] }] })
    expect(answered).toBe(1000)
    expect(later).toBeGreaterThanOrEqual(first + 1000)
  })

  it('is at the price of the tier and of the length that is asked for, at most and at least too', () => {
    const request = { ...text, params: { service_tier: 'fast' }, maxTurns: 3 }
    for (const [at, prompt_tokens] of [
      ['low', 75],
      ['expected', 100],
      ['high', 200],
    ] as const) {
      const facts = { service_tier: 'priority', prompt_tokens }
      expect(usageOf(WRITER, request, { at }).map((usage) => usage.facts)).toEqual([facts, facts])
    }
  })

  it('has a search on the web where it may search and the price list has searches', () => {
    const request = { ...text, params: { tools: [{ type: 'web_search' }], max_tool_calls: 3 } }
    const searches = (seen: Seen) =>
      usageOf(WRITER, request, seen).flatMap((one) => (one.unit === 'web_search_call' ? one.quantity : []))
    expect(searches({})).toEqual([])
    const pricedIn: Unit[] = ['web_search_call']
    expect((['low', 'expected', 'high'] as const).map((at) => searches({ at, pricedIn }))).toEqual([[0], [1], [3]])
    expect(usageOf(WRITER, text, { pricedIn })).toHaveLength(2)
  })
})

describe('what a picture of OpenAI is expected to use', () => {
  const pricedIn: Unit[] = ['input_token', 'image_output_token', 'image']
  const picture = (params: JsonObject, seen: Seen = {}, name = 'openai/gpt-image-2') =>
    usageOf(name, { prompt: 'x'.repeat(44), params }, { pricedIn, ...seen })[0]

  it.each([
    ['low', '1024x1024', 196],
    ['medium', '1024x1024', 1756],
    ['medium', '1536x1024', 1372],
    ['medium', '1024x1536', 1372],
    ['high', '1024x1024', 7024],
    ['high', '3840x2160', 13_342],
    ['high', '2880x2880', 23_719],
    ['medium', '1280x720', 947],
  ])('is for %s at %s %d tokens', (quality, size, quantity) => {
    expect(picture({ quality, size })).toEqual({ unit: 'image_output_token', quantity })
    expect(picture({ quality, size, n: 3 })).toEqual({ unit: 'image_output_token', quantity: 3 * quantity })
  })

  it('is dear where the model chooses, and cheap at its lowest', () => {
    const quantities = (['low', 'expected', 'high'] as const).map((at) => picture({}, { at })?.quantity)
    expect(quantities).toEqual([196, 7024, 7024])
    expect(picture({}, { usual: { size: '1024x1024', quality: 'low' } })?.quantity).toBe(196)
  })

  it('is by the picture where the price list has no rate for its tokens, or nobody knows how many there are', () => {
    const facts = { quality: 'medium', size: '1024x1024' }
    expect(picture(facts, { pricedIn: ['image'] })).toEqual({ unit: 'image', quantity: 1, facts })
    expect(picture({ ...facts, n: 2 }, {}, 'openai/gpt-image-1')).toEqual({ unit: 'image', quantity: 2, facts })
  })
})

describe('what speech of OpenAI is expected to use', () => {
  it('is the characters of its text, or what is usual where nobody knows them yet', () => {
    const characters = (text: string, seen?: Seen) => usageOf('openai/gpt-4o-mini-tts', { args: { text } }, seen)
    expect(characters('Hello.')).toEqual([{ unit: 'character', quantity: 6 }])
    expect(characters('{steps.a.output.text}')).toEqual([{ unit: 'character', quantity: 450 }])
    expect(characters('', { usual: { characters: 90 } })).toEqual([{ unit: 'character', quantity: 90 }])
  })
})
