import { expect, it } from 'vitest'
import { withPixels } from './pictures.ts'

it('no more than 120 megapixels are decoded at a time, and larger pictures alone', async () => {
  let [now, most] = [0, 0]
  const work = (megapixels: number) =>
    withPixels(megapixels * 1e6, async () => {
      now += megapixels
      most = Math.max(most, now)
      await new Promise(setImmediate)
      now -= megapixels
    })
  await Promise.all([100, 100, 100, 20, 20, 60, 60, 1, 1, 1].map(work))
  expect(most).toBeGreaterThanOrEqual(100)
  expect(most).toBeLessThanOrEqual(120)
  await work(500)
  expect(most).toBe(500)
})
