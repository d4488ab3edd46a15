import type { InputFile, StepContext } from '@fabrique/engine'
import { anArtifact } from '@fabrique/engine/testing'
import { type JsonObject, type JsonValue, textOf } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { tool } from './tool.ts'

describe('the files that a model is given', () => {
  const file = (id: string): JsonObject => ({ id, sha256: 'f'.repeat(64), mimeType: 'image/png' })
  const output = (id: string): JsonObject => ({ artifact: file(id), artifacts: [file(id), file('z')], data: {} })

  /** What of these arguments goes along as files, by the artifact's id, and what as values. */
  async function given(args: JsonObject) {
    let asked: [JsonObject, Record<string, InputFile>] | undefined
    const context = {
      tool: () => undefined,
      open: async (reference: JsonValue) => ({
        record: anArtifact(textOf((reference as JsonObject).id)),
        bytes: new Uint8Array(),
      }),
      call: async (request: JsonObject, files: Record<string, InputFile>) => {
        asked = [request, files]
        return { output: {}, files: [], usage: [] }
      },
    }
    await tool.run({ tool: 'acme/any', args }, context as unknown as StepContext)
    const [request, files] = asked ?? [{}, {}]
    return [Object.entries(files).map(([place, { record }]) => [place, record.id]), request.args]
  }

  it('are those by themselves, those of a step, and lists of either, as a step for each item answers them', async () => {
    const args = { image: file('a'), mask: output('b'), image_urls: [output('c'), null, file('d')] }
    expect(await given(args)).toEqual([
      [
        ['image', 'a'],
        ['mask', 'b'],
        ['image_urls/0', 'c'],
        ['image_urls/1', 'd'],
      ],
      {},
    ])
  })

  it('are no other values, which go along as they are', async () => {
    const args = {
      prompt: 'x',
      loras: [{ path: 'https://x.example' }],
      image_urls: ['https://x.example/1.png'],
      none: [],
    }
    expect(await given(args)).toEqual([[], args])
  })
})
