import { expect, it } from 'vitest'
import { createQuotas } from './quotas.ts'

const LIMITS = { submitsPerMinute: 3, openRuns: 10, storedBytes: 100 }
const NOTHING = { openRuns: 0, storedBytes: 0 }

it('lets each organization submit as often as it may, and tells it how often that still is', async () => {
  const quotas = createQuotas(LIMITS, async () => NOTHING)
  const told: string[] = []
  const submit = (organization: string) =>
    quotas.takeSubmit(organization, (header, value) => header === 'RateLimit' && told.push(value.replace(/t=.*/, 't')))
  for (let count = 0; count < 3; count += 1) await submit('a')
  await expect(submit('a')).rejects.toMatchObject({ code: 'quota-exceeded', retryAfterS: expect.any(Number) })
  await submit('b')
  expect(told).toEqual(['r=2', 'r=1', 'r=0', 'r=0', 'r=2'].map((left) => `"submits";${left};t`))
})

it.each([
  { has: { openRuns: 10, storedBytes: 0 }, what: 'runs that have not ended' },
  { has: { openRuns: 0, storedBytes: 100 }, what: 'stored files' },
])('refuses a submit of an organization that has as much as it may: $what', async ({ has, what }) => {
  const quotas = createQuotas(LIMITS, async (organization) => (organization === 'full' ? has : NOTHING))
  await expect(quotas.takeSubmit('full')).rejects.toThrow(what)
  await quotas.takeSubmit('other')
})

it('refuses nobody while the record cannot be counted', async () => {
  const quotas = createQuotas(LIMITS, () => Promise.reject(new Error('away')))
  await quotas.takeSubmit('a')
})
