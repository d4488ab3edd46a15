import stringWidth from 'string-width'
import { expect, it } from 'vitest'
import { columns } from './report.ts'

it('columns begin under each other, whatever characters are before them', () => {
  const lines = columns([
    ['plain', 'title', 'end'],
    ['漢字', '한국어 제목', 'end'],
    ['👩‍🚀', 'é🇩🇪', 'end'],
  ])
  expect(new Set(lines.map((line) => stringWidth(line.slice(0, line.indexOf('end'))))).size).toBe(1)
  expect(lines[0]).toBe('plain  title        end')
})
