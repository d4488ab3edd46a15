// What the price lists promise: versions that never change, and models that outlive a list of prices alone.
import { expect, it, onTestFinished } from 'vitest'
import { createDb } from './client.ts'
import { createPricingStore } from './pricing-store.ts'
import { createTestDb } from './testing.ts'

it('keeps the models of the list before where a new one brings rates only, and takes those that it brings', async () => {
  const { databaseUrl, drop } = await createTestDb()
  const db = createDb({ databaseUrl })
  onTestFinished(async () => {
    await db.close()
    await drop()
  })
  const store = createPricingStore(db)
  const list = (version: string) => ({ version, currency: 'USD' as const, rates: [] })
  const model = (name: string) => ({ model: name, capability: 'text' as const, assumed: true as const })
  expect(await store.add(list('2026.01.01'))).toEqual(list('2026.01.01'))
  expect(await store.current()).toEqual(list('2026.01.01'))
  const first = { ...list('2026.01.02'), models: [model('acme/one')] }
  expect(await store.add(first)).toEqual(first)
  expect(await store.add(list('2026.01.03'))).toEqual({ ...first, version: '2026.01.03' })
  expect(await store.current()).toEqual({ ...first, version: '2026.01.03' })
  expect(await store.add(list('2026.01.03'))).toBeNull()
  const none = { ...list('2026.01.04'), models: [] }
  expect(await store.add(none)).toEqual(none)
  expect(await store.current()).toEqual(none)
})
