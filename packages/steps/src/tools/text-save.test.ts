import type { JsonObject } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { createToolBench } from '../testing/tool-bench.ts'
import { textSave } from './text-save.ts'

async function saved(args: JsonObject): Promise<{ text: string; mimeType: string }> {
  const bench = createToolBench()
  const { record, bytes } = bench.fileOf((await bench.run(textSave, args)).artifact)
  return { text: Buffer.from(bytes).toString(), mimeType: record.mimeType }
}

describe('text.save', () => {
  it('saves a text as it is, under the type of its format', async () => {
    expect(await saved({ text: 'Hello\nworld', format: 'txt' })).toEqual({
      text: 'Hello\nworld\n',
      mimeType: 'text/plain',
    })
    expect(await saved({ text: '*Hello*', format: 'md', title: 'Title' })).toEqual({
      text: '# Title\n\n*Hello*\n',
      mimeType: 'text/markdown',
    })
  })

  it('saves data as JSON that reads back the same', async () => {
    const value = { hooks: [{ text: 'One' }], count: 1, none: null }
    const { text, mimeType } = await saved({ value, format: 'json' })
    expect([JSON.parse(text), mimeType]).toEqual([value, 'application/json'])
  })

  it('writes a list of records as a numbered list that a person can read', async () => {
    const value = [{ hook: 'Stop scrolling.', angle: 'surprise', tags: ['a', 'b'] }, { hook: 'Two' }]
    expect((await saved({ value, format: 'md' })).text).toBe(
      '1. **Stop scrolling.**\n   - angle: surprise\n   - tags:\n     1. a\n     2. b\n2. Two\n',
    )
    expect((await saved({ value: ['One', 'Two\nlines'], format: 'txt' })).text).toBe('1. One\n2. Two\n   lines\n')
  })

  it('refuses nothing at all, and text as JSON that is not JSON', async () => {
    await expect(saved({ format: 'txt', text: null })).rejects.toMatchObject({ failureClass: 'invalid' })
    await expect(saved({ format: 'json', text: '{oops' })).rejects.toMatchObject({ failureClass: 'invalid' })
  })
})
