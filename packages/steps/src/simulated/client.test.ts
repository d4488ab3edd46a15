import type { ArtifactRecord, Model } from '@fabrique/engine'
import { anArtifact, providerClientContract } from '@fabrique/engine/testing'
import type { JsonObject } from '@fabrique/schema'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { inspect } from '../inspect.ts'
import { fal } from '../providers/fal.ts'
import { openai } from '../providers/openai.ts'
import { createSimulatedClient } from './client.ts'

const PROVIDERS = { openai: openai.provider, fal: fal.provider }

function modelOf(name: string): Model {
  const model = PROVIDERS[name.startsWith('fal/') ? 'fal' : 'openai'].model(name)
  if (model === undefined) throw new Error(`there is no model ${name}`)
  return model
}

async function picture(): Promise<{ record: ArtifactRecord; bytes: Uint8Array }> {
  const plain = sharp({ create: { width: 64, height: 64, channels: 3, background: '#ffffff' } })
  const spot = await sharp({ create: { width: 24, height: 24, channels: 3, background: '#c03020' } })
    .png()
    .toBuffer()
  const bytes = await plain
    .composite([{ input: spot, left: 20, top: 20 }])
    .png()
    .toBuffer()
  return { record: anArtifact('a1', { mimeType: 'image/png', bytes: bytes.byteLength }), bytes }
}

const CASES: { name: string; model: string; request: JsonObject; files: boolean }[] = [
  {
    name: 'pictures',
    model: 'openai/gpt-image-2',
    request: { prompt: 'a fox', params: { size: '256x256' } },
    files: false,
  },
  { name: 'text', model: 'openai/gpt-5-mini', request: { prompt: 'Say hello', params: {} }, files: false },
  { name: 'mattes', model: 'fal/birefnet-light', request: { args: {} }, files: true },
]

for (const { name, model: modelName, request, files } of CASES) {
  providerClientContract(`the simulated client for ${name}`, async () => {
    const model = modelOf(modelName)
    return {
      client: createSimulatedClient(PROVIDERS[model.provider as keyof typeof PROVIDERS]),
      request: { model, request, files: files ? { image: await picture() } : {} },
      dispose: async () => {},
    }
  })

  describe(`the simulated client for ${name}`, () => {
    it('answers the same request with the same bytes, files that decode, and the usage that was expected', async () => {
      const model = modelOf(modelName)
      const provider = PROVIDERS[model.provider as keyof typeof PROVIDERS]
      const call = async () =>
        await createSimulatedClient(provider).call({
          model,
          request,
          files: files ? { image: await picture() } : {},
          callId: crypto.randomUUID(),
          signal: new AbortController().signal,
          resumeId: null,
          onRequestId: async () => {},
          onProgress: () => {},
        })
      const [first, second] = [await call(), await call()]
      expect(second).toEqual(first)
      expect(first.usage).toEqual(provider.expectedUsage(model, request))
      for (const file of first.files) expect((await inspect(file.bytes, file.mimeType)).mimeType).toBe(file.mimeType)
    })
  })
}
