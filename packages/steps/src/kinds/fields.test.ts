import { StepFailure } from '@fabrique/engine'
import { describe, expect, it } from 'vitest'
import { answerReader, storeAll } from './fields.ts'

describe('the files of an answer', () => {
  it('are all stored, whichever of them is not what it must be, and the first such fails the step', async () => {
    const asked: string[] = []
    const context = {
      async store({ name }: { name: string }) {
        asked.push(name)
        if (name !== 'good') throw new StepFailure('bad_output', `${name} is not kept`)
        return { id: name }
      },
    }
    const files = ['good', 'bad', 'good', 'worse'].map((name) => ({ name, mimeType: '', bytes: new Uint8Array() }))
    await expect(storeAll(files, context)).rejects.toThrow('bad is not kept')
    expect(asked).toEqual(['good', 'bad', 'good', 'worse'])
    expect(await storeAll(files.slice(0, 1), context)).toEqual([{ id: 'good' }])
  })

  it('are not tried one after another where the store is away', async () => {
    const asked: string[] = []
    const store = async ({ name }: { name: string }) => {
      asked.push(name)
      throw new Error('away')
    }
    const files = ['a', 'b'].map((name) => ({ name, mimeType: '', bytes: new Uint8Array() }))
    await expect(storeAll(files, { store })).rejects.toThrow('away')
    expect(asked).toEqual(['a'])
  })
})

describe('a structured answer', () => {
  const read = async (text: string) => {
    const reader = await answerReader({ type: 'object' }, { schema: async () => async (value) => value })
    return await reader?.(text)
  }

  it.each([
    ['as it is', '{"a": 1}'],
    ['behind a byte order mark', '\uFEFF```json\n{"a": 1}\n```'],
    ['in a fenced block', '```json\n{"a": 1}\n```\n'],
    ['in a block with words around it', 'Here you are:\n\n```\n{"a":\n 1}\n```\nAnything else?'],
    ['in a block of one line', '```json {"a": 1} ```'],
    ['in a block of tildes', '~~~json\n{"a": 1}\n~~~'],
    ['in a block that is not closed', '```json\n{"a": 1}'],
    ['behind words', 'Here is the object: {"a": 1}'],
    ['behind thoughts', '<think>\nPerhaps {a}?\n</think>\n{"a": 1}'],
    ['with a fence inside a text', '{"a": 1, "b": "```\\n```"}'],
  ])('is read %s', async (_, text) => {
    expect(await read(text)).toMatchObject({ a: 1 })
  })

  it('that is no JSON is bad output, and paid', async () => {
    for (const text of ['', 'no', '```json\nno\n```', '```json', '{', '} {'])
      await expect(read(text)).rejects.toMatchObject({ failureClass: 'bad_output', billed: 'yes' })
  })
})
