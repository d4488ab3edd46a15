import { expect, it } from 'vitest'
import { changesBetween } from './lock.ts'

it('the changes between two locks are every pin that differs, is new or is gone, each with its place', () => {
  const before = { version: '1', models: { a: 'x', b: 'y' }, prompts_sha256: {} }
  const after = { version: '2', models: { a: 'x', c: ['y', 'z'] }, prompts_sha256: {} }
  expect(changesBetween(before, after)).toEqual([
    { pointer: '/version', text: 'version was 1, is 2' },
    { pointer: '/models/b', text: 'models.b is gone: it was y' },
    { pointer: '/models/c', text: 'models.c is new: ["y","z"]' },
  ])
  expect(changesBetween(before, before)).toEqual([])
})
