// How amounts and times read.
import { expect, it } from 'vitest'
import { ago, money, span } from './words.ts'

it.each([
  [0, '$0.00'],
  [12.345, '$12.35'],
  [1, '$1.00'],
  [0.16, '$0.16'],
  [0.1599, '$0.16'],
  [0.053, '$0.053'],
  [0.0003, '$0.0003'],
  [0.5, '$0.50'],
])('%d is %s', (usd, text) => {
  expect(money(usd)).toBe(text)
})

it.each([
  [40, '40 ms'],
  [1_500, '1.5 s'],
  [59_000, '59 s'],
  [61_000, '1 m 1 s'],
  [3_660_000, '1 h 1 m'],
])('%d ms are %s', (ms, text) => {
  expect(span(ms)).toBe(text)
})

it('says how long ago something was in one unit', () => {
  expect(ago('2026-01-01T00:00:00Z', Date.parse('2026-01-01T02:10:00Z'))).toBe('2 h ago')
})
