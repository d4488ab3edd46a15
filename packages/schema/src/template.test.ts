import { expect, it } from 'vitest'
import { TemplateVersion } from './template.ts'

it.each([
  ['2026.05.16', true],
  ['2026.05.16.2', true],
  ['2024.02.29', true],
  ['2026.02.29', false],
  ['2026.13.01', false],
  ['2026.00.10', false],
  ['2026.5.16', false],
  ['2026.05.16.', false],
  ['v1', false],
])('the template version %s is valid: %s', (version, valid) => {
  expect(TemplateVersion.safeParse(version).success).toBe(valid)
})
