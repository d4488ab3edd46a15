import { describe, expect, it } from 'vitest'
import { pauseOf } from './pause.ts'

const HOUR = 3_600_000
const of = (headers: Record<string, string>, text?: string) => pauseOf(new Headers(headers), text)

describe('the pause in headers', () => {
  it.each([
    ['8', 8_000],
    ['0.5', 500],
    ['86400', HOUR],
    ['99999999999', HOUR],
  ])('Retry-After %s in seconds', (value, ms) => {
    expect(of({ 'retry-after': value })).toBe(ms)
  })

  it('Retry-After as a date counts from the date of the answer, whatever our clock says', () => {
    const date = 'Wed, 18 Sep 2019 05:33:23 GMT'
    expect(of({ date, 'retry-after': 'Wed, 18 Sep 2019 05:34:00 GMT' })).toBe(37_000)
    expect(of({ date, 'retry-after': 'Wednesday, 18-Sep-19 05:34:00 GMT' })).toBe(37_000)
    expect(of({ date, 'retry-after': 'Thu, 19 Sep 2019 05:34:00 GMT' })).toBe(HOUR)
  })

  it('Retry-After as a date counts from our clock where the answer has no date', () => {
    const inTenSeconds = new Date(Date.now() + 10_000).toUTCString()
    expect(of({ 'retry-after': inTenSeconds })).toBeGreaterThan(8_000)
    expect(of({ 'retry-after': inTenSeconds })).toBeLessThanOrEqual(10_000)
  })

  it('retry-after-ms goes before Retry-After, and both before everything else', () => {
    expect(of({ 'retry-after-ms': '1250.5', 'retry-after': '2' })).toBe(1_251)
    const reset = { 'x-ratelimit-remaining-requests': '0', 'x-ratelimit-reset-requests': '8s' }
    expect(of({ 'retry-after': '2', ...reset }, 'Please try again in 20s')).toBe(2_000)
    expect(of(reset, 'Please try again in 20s')).toBe(8_000)
  })

  it.each([
    ['1s', 1_000],
    ['6m0s', 360_000],
    ['20ms', 20],
    ['1m20.5s', 80_500],
    ['1h0m0s', HOUR],
    ['7.66s', 7_660],
    ['60', 60_000],
    ['1700000030', 30_000],
    ['1700000030000', 30_000],
    ['2023-11-14T22:13:50Z', 30_000],
  ])('x-ratelimit-reset-tokens %s, where nothing remains', (reset, ms) => {
    const date = new Date(1_700_000_000_000).toUTCString()
    const headers = { date, 'x-ratelimit-reset-tokens': reset }
    expect(of({ ...headers, 'x-ratelimit-remaining-tokens': '0' })).toBe(ms)
    expect(of({ ...headers, 'x-ratelimit-remaining-tokens': '1' })).toBeUndefined()
    expect(of({ ...headers, 'x-ratelimit-remaining-tokens': '-1' })).toBeUndefined()
    expect(of(headers)).toBeUndefined()
  })

  it('of two limits that are used up, the later reset', () => {
    const used = { 'x-ratelimit-remaining-requests': '0', 'x-ratelimit-remaining-tokens': '0' }
    expect(of({ ...used, 'x-ratelimit-reset-requests': '120ms', 'x-ratelimit-reset-tokens': '6m0s' })).toBe(360_000)
    expect(of({ ...used, 'x-ratelimit-reset-requests': '9s', 'x-ratelimit-reset-tokens': '1s' })).toBe(9_000)
    const some = { ...used, 'x-ratelimit-remaining-tokens': '500' }
    expect(of({ ...some, 'x-ratelimit-reset-requests': '120ms', 'x-ratelimit-reset-tokens': '6m0s' })).toBe(120)
  })

  it.each([
    ['retry-after', '0'],
    ['retry-after', '-5'],
    ['retry-after', 'soon'],
    ['retry-after', '1e3'],
    ['retry-after', 'Wed, 21 Oct 2015 07:28:00 GMT'],
    ['retry-after', ''],
    ['retry-after-ms', '-1'],
    ['retry-after-ms', 'NaN'],
    ['x-ratelimit-reset', '1500000000'],
    ['x-ratelimit-reset', 'never'],
    ['x-ratelimit-reset', '0'],
  ])('%s: %s says nothing: it is no pause of zero', (name, value) => {
    expect(of({ [name]: value, 'x-ratelimit-remaining': '0' })).toBeUndefined()
  })

  it('what cannot be read gives way to what can', () => {
    expect(of({ 'retry-after': 'soon' }, 'retry after 8s')).toBe(8_000)
  })
})

describe('the pause in a text', () => {
  it.each([
    ['Rate limit reached. Limit: 3 / min. Please try again in 1m20.5s. Contact us.', 80_500],
    ['on tokens per min (TPM): Limit 200000, Used 199821. Please try again in 634ms. Visit', 634],
    ['please try again after 1 seconds', 1_000],
    ['Try again in 20 seconds', 20_000],
    ['Please retry in 12.345678901s.', 12_346],
    ['retry after 8s', 8_000],
    ['Quota exceeded, retry after 2 minutes, 5 seconds', 125_000],
    ['try again in 1 minute 20 seconds', 80_000],
    ['try again in 1 hr', HOUR],
    ['It resets in 3 mins', 180_000],
    ['try again in 2 days', HOUR],
    ['{"error":{"details":[{"retryDelay": "34s"}]}}', 34_000],
    ['{"detail":"limited","retry_after": 0.65}', 650],
    ['{"retry_after_seconds":12}', 12_000],
    ['Please wait 20 seconds before the next request', 20_000],
    ['Retry-After: 8', 8_000],
    ['Do not try again in vain; try again in 3 s', 3_000],
    ['try again in 250 milliseconds', 250],
  ])('%s', (text, ms) => {
    expect(pauseOf(undefined, text)).toBe(ms)
  })

  it.each([
    '',
    'Too many requests',
    'try again in a few minutes',
    'try again in 0s',
    'try again after 2026-11-28T10:00:00Z',
    'try again in 3 steps',
    'limit 20 s',
  ])('says nothing: %s', (text) => {
    expect(pauseOf(null, text)).toBeUndefined()
  })

  it('counts only in its first 4 KiB, and a hostile text takes no longer than another', () => {
    expect(pauseOf(null, `${' '.repeat(4_000)} retry in 8s`)).toBe(8_000)
    expect(pauseOf(null, `${' '.repeat(4_096)} retry in 8s`)).toBeUndefined()
    const began = performance.now()
    for (const piece of ['retry in ', 'again in 1', '1', ' ', 'retry after 9999999999', '1m '])
      pauseOf(null, piece.repeat(1_000_000 / piece.length))
    expect(performance.now() - began).toBeLessThan(200)
  })
})
