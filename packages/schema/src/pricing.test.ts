import { describe, expect, it } from 'vitest'
import { FACTS, findRate, linesOf, ModelRow, priceOf, QUANTITY_MAX, Rate, RateTable, type Unit } from './pricing.ts'

const rate = (unit_price_usd: number, when?: Record<string, string>, unit: Unit = 'image'): Rate => ({
  model: 'acme/one',
  unit,
  unit_price_usd,
  assumed: true,
  ...(when === undefined ? {} : { when }),
})
const RATES = [rate(1), rate(2, { quality: 'high' }), rate(3, { quality: 'high', size: 'big' })]

describe('a rate', () => {
  it.each([
    [undefined, 1],
    [{ quality: 'low' }, 1],
    [{ quality: 'high' }, 2],
    [{ quality: 'high', size: 'big' }, 3],
  ])('that fits most of %j costs %d', (facts, price) => {
    const usage = { unit: 'image' as const, quantity: 1, ...(facts === undefined ? {} : { facts }) }
    expect(findRate(RATES, 'acme/one', usage)?.unit_price_usd).toBe(price)
  })

  it('is absent for another model, another unit, or a condition that is not met', () => {
    expect(findRate(RATES, 'acme/two', { unit: 'image', quantity: 1 })).toBeUndefined()
    expect(findRate(RATES, 'acme/one', { unit: 'second', quantity: 1 })).toBeUndefined()
    expect(findRate(RATES.slice(1), 'acme/one', { unit: 'image', quantity: 1 })).toBeUndefined()
  })

  it.each([
    [{ prompt_tokens: '>272000' }, { prompt_tokens: 272_001 }, true],
    [{ prompt_tokens: '>272000' }, { prompt_tokens: 272_000 }, false],
    [{ prompt_tokens: '>=272000' }, { prompt_tokens: '272000' }, true],
    [{ prompt_tokens: '<=128000' }, { prompt_tokens: 90_000 }, true],
    [{ prompt_tokens: '<128000' }, { prompt_tokens: 128_000 }, false],
    [{ prompt_tokens: '>1' }, { prompt_tokens: 'many' }, false],
    [{ prompt_tokens: '<1' }, {}, false],
    [{ utc_time: '00:30-16:30' }, { utc_time: '00:30' }, true],
    [{ utc_time: '00:30-16:30' }, { utc_time: '16:30' }, false],
    [{ utc_time: '16:30-00:30' }, { utc_time: '00:29' }, true],
    [{ utc_time: '16:30-00:30' }, { utc_time: '12:00' }, false],
    [{ audio: 'true' }, { audio: 'true' }, true],
    [{ service_tier: 'flex' }, { service_tier: 'default' }, false],
    [{ service_tier: 'flex', prompt_tokens: '>9' }, { service_tier: 'flex' }, false],
  ])('under %j holds for %j: %s', (when, facts, holds) => {
    const found = findRate([rate(2, when)], 'acme/one', { unit: 'image', quantity: 1, facts })
    expect(found !== undefined).toBe(holds)
  })

  it('can only depend on facts of a call, each in its form, and is a finite price', () => {
    const problem = (when: Record<string, string>) => Rate.safeParse(rate(1, when)).error?.issues[0]
    expect(problem({ weather: 'fine' })).toMatchObject({ path: ['when', 'weather'] })
    for (const fact of FACTS) expect(problem({ weather: 'fine' })?.message).toContain(fact)
    expect(problem({ constructor: 'x' })?.message).toContain('is no fact')
    expect(problem({ prompt_tokens: '272000' })?.message).toBe('must be a comparison such as ">272000"')
    expect(problem({ utc_time: '25:00-26:00' })?.message).toBe('must be a window such as "00:30-16:30"')
    expect(problem({ audio: 'yes' })?.message).toBe('must be "true" or "false"')
    expect(problem({ quality: '' })?.message).toContain('80 characters')
    expect(problem({ quality: 'high', utc_time: '16:30-00:30', prompt_tokens: '<=9' })).toBeUndefined()
    for (const price of [-1, Number.NaN, Number.POSITIVE_INFINITY, 10_001])
      expect(Rate.safeParse(rate(price)).success).toBe(false)
  })
})

describe('a bill', () => {
  const TOKENS = [
    rate(2, undefined, 'input_token'),
    rate(1, { service_tier: 'flex' }, 'input_token'),
    rate(8, undefined, 'output_token'),
    rate(0.5, undefined, 'cached_audio_input_token'),
    rate(4, undefined, 'audio_input_token'),
  ]
  const one = (unit: Unit, facts?: Record<string, string>) => ({ unit, quantity: 1, ...(facts ? { facts } : {}) })

  it.each<[Unit, number | null]>([
    ['cached_input_token', 2],
    ['cache_write_input_token', 2],
    ['cached_image_input_token', 2],
    ['reasoning_token', 8],
    ['cached_audio_input_token', 0.5],
    ['audio_output_token', null],
    ['web_search_call', null],
  ])('charges one %s, without a rate of its own, as what it stands beside: %s', (unit, price) => {
    expect(priceOf(TOKENS, 'acme/one', [one(unit)])).toBe(price)
  })

  it('has a line for each usage with its own rate, and is their sum', () => {
    const usages = [
      { unit: 'input_token', quantity: 3, facts: { service_tier: 'flex' } },
      { unit: 'cached_input_token', quantity: 0 },
      { unit: 'output_token', quantity: 2 },
    ] as const
    expect(linesOf(TOKENS, 'acme/one', usages)).toEqual([
      { quantity: 3, unit: 'input_token', unitPriceUsd: 1, usd: 3 },
      { quantity: 2, unit: 'output_token', unitPriceUsd: 8, usd: 16 },
    ])
    expect(priceOf(TOKENS, 'acme/one', usages)).toBe(19)
    expect(linesOf(TOKENS, 'acme/one', [])).toEqual([])
  })

  it.each([-1, Number.NaN, Number.POSITIVE_INFINITY, 1e300, QUANTITY_MAX + 1])(
    'does not exist for a quantity of %d',
    (quantity) => {
      expect(linesOf(TOKENS, 'acme/one', [{ unit: 'input_token', quantity }])).toBeNull()
      expect(priceOf(TOKENS, 'acme/one', [{ unit: 'input_token', quantity }])).toBeNull()
    },
  )
})

describe('a price list', () => {
  const table = { version: '2026.11.28', currency: 'USD', rates: [rate(1)] }
  const row = { model: 'acme/one', capability: 'text', assumed: true }

  it('is complete without models, and takes them beside its rates', () => {
    expect(RateTable.parse(table)).toEqual(table)
    const models = [{ ...row, until: '2026-12-11', successor: 'acme/two', parameters: { type: 'object' } }]
    expect(RateTable.parse({ ...table, models })).toEqual({ ...table, models })
  })

  it('takes no model without an origin, with an end that is no date, or of no capability', () => {
    const { assumed: _, ...unfounded } = row
    for (const wrong of [unfounded, { ...row, until: '2026-02-30' }, { ...row, capability: 'magic' }])
      expect(ModelRow.safeParse(wrong).success).toBe(false)
  })
})
