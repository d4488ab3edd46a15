import { expect, it } from 'vitest'
import { findRate, type Rate } from './pricing.ts'

const rate = (unit_price_usd: number, when?: Record<string, string>): Rate => ({
  model: 'acme/one',
  unit: 'image',
  unit_price_usd,
  assumed: true,
  ...(when === undefined ? {} : { when }),
})
const RATES = [rate(1), rate(2, { quality: 'high' }), rate(3, { quality: 'high', size: 'big' })]

it.each([
  [undefined, 1],
  [{ quality: 'low' }, 1],
  [{ quality: 'high' }, 2],
  [{ quality: 'high', size: 'big' }, 3],
])('the rate that fits most of %j costs %d', (facts, price) => {
  const usage = { unit: 'image' as const, quantity: 1, ...(facts === undefined ? {} : { facts }) }
  expect(findRate(RATES, 'acme/one', usage)?.unit_price_usd).toBe(price)
})

it('there is no rate for another model, another unit, or a condition that is not met', () => {
  expect(findRate(RATES, 'acme/two', { unit: 'image', quantity: 1 })).toBeUndefined()
  expect(findRate(RATES, 'acme/one', { unit: 'second', quantity: 1 })).toBeUndefined()
  expect(findRate(RATES.slice(1), 'acme/one', { unit: 'image', quantity: 1 })).toBeUndefined()
})
