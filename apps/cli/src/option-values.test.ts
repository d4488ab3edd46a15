import { expect, it } from 'vitest'
import { durationMs } from './option-values.ts'

it.each([
  ['90', 90_000],
  ['90s', 90_000],
  ['1.5m', 90_000],
  ['2h', 7_200_000],
  ['250ms', 250],
])('%s is %i ms', (text, ms) => {
  expect(durationMs(text)).toBe(ms)
})

it.each(['', '0', '-1s', 's', '5 days', '1e9h', '9999h'])('"%s" is refused with what to write', (text) => {
  expect(() => durationMs(text)).toThrow('90s, 5m or 1h')
})
