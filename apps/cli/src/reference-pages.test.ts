import { expect, it } from 'vitest'
import { referencePages, stalePages } from './reference-pages.ts'

it('the reference pages are what the shipped templates say; else run: node apps/cli/src/reference-pages.ts', async () => {
  expect((await referencePages()).size).toBeGreaterThan(0)
  expect(await stalePages()).toEqual([])
})
