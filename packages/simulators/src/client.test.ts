import type { ArtifactRecord, Model, Provider } from '@fabrique/engine'
import { anArtifact, providerClientContract } from '@fabrique/engine/testing'
import { type JsonObject, textOf } from '@fabrique/schema'
import { createStandardCatalog, inspect } from '@fabrique/steps'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { createSimulatedClient } from './client.ts'

const catalog = createStandardCatalog()

function providerOf(name: string): Provider {
  const provider = catalog.provider(name)
  if (provider === undefined) throw new Error(`there is no provider ${name}`)
  return provider
}

function modelOf(name: string): Model {
  const model = providerOf(name.split('/')[0] ?? '').model(name)
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
  { name: 'verdicts', model: 'openai/omni-moderation-latest', request: { content: 'a fox' }, files: false },
]

for (const { name, model: modelName, request, files } of CASES) {
  providerClientContract(`the simulated client for ${name}`, async () => {
    const model = modelOf(modelName)
    return {
      client: createSimulatedClient(providerOf(model.provider)),
      request: { model, request, files: files ? { image: await picture() } : {} },
      dispose: async () => {},
    }
  })

  describe(`the simulated client for ${name}`, () => {
    it('answers the same request with the same bytes, files that decode, and the usage that is expected of its answer', async () => {
      const model = modelOf(modelName)
      const provider = providerOf(model.provider)
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
      const outlook = { at: 'expected', answer: textOf(first.output.text), files: [] } as const
      expect(first.usage).toEqual(provider.expectedUsage(model, request, outlook))
      for (const file of first.files) expect((await inspect(file.bytes, file.mimeType)).mimeType).toBe(file.mimeType)
    })
  })
}

async function ask(modelName: string, request: JsonObject): Promise<JsonObject> {
  const { output } = await createSimulatedClient(providerOf('openai')).call({
    model: modelOf(modelName),
    request,
    files: {},
    callId: 'run.step.1',
    signal: new AbortController().signal,
    resumeId: null,
    onRequestId: async () => {},
    onProgress: () => {},
  })
  return output
}

describe('the simulated client for agents', () => {
  const tools = catalog.names.tools
  const agent = catalog.kind('agent')

  /** An agent with this twin as its model; its tools only take note, after their arguments were checked. */
  async function runAgent(fields: JsonObject) {
    const used: string[] = []
    const output = await agent?.run(
      { promptTemplate: 'Make a page about foxes', ...fields },
      {
        signal: new AbortController().signal,
        async call(request) {
          const model = modelOf('openai/gpt-5-mini')
          return {
            output: await ask(model.name, request),
            files: [],
            usage: providerOf('openai').expectedUsage(model, request),
          }
        },
        tool(name) {
          const tool = catalog.tool(name)
          return tool && { ...tool, run: async () => ({ used: used.push(name) }) }
        },
        once: async (_, work) => await work(),
        progress: () => {},
        open: () => Promise.reject(new Error('no file is opened here')),
        store: () => Promise.reject(new Error('no file is made here')),
        callWorkflow: () => Promise.reject(new Error('no run is started here')),
        schema: async () => async (value) => value,
      },
    )
    return { output: output as JsonObject, used }
  }

  it('uses every tool once, one a turn, in order, by arguments that the tool takes, and then answers', async () => {
    const { output, used } = await runAgent({ tools })
    expect(used).toEqual(tools)
    expect(output).toMatchObject({ turns: tools.length + 1, text: expect.stringMatching(/fox/i) })
    expect((await runAgent({ tools })).output).toEqual(output)
  })

  it('answers by the output schema in the end', async () => {
    const outputSchema = { type: 'object', properties: { title: { type: 'string' } }, required: ['title'] }
    const { output, used } = await runAgent({ tools: ['value.pass'], outputSchema })
    expect(used).toEqual(['value.pass'])
    expect(output).toMatchObject({ json: { title: expect.any(String) }, turns: 2 })
  })

  it('keeps its last turn for the answer where there are more tools than turns', async () => {
    const { output, used } = await runAgent({ tools: ['value.pass', 'text.save', 'image.convert'], maxTurns: 2 })
    expect(used).toEqual(['value.pass'])
    expect(output).toMatchObject({ turns: 2 })
  })
})

describe('the simulated client for verdicts', () => {
  const moderation = 'openai/omni-moderation-latest'
  const verdict = { type: 'object', required: ['safe'], properties: { safe: { type: 'boolean' } } }

  it('finds content safe unless it is marked, whether a moderation model is asked or a language model', async () => {
    expect(await ask(moderation, { content: 'A fox.' })).toEqual({ flagged: false, categories: [] })
    expect(await ask(moderation, { prompt: '[unsafe]?', content: 'A fox.' })).toMatchObject({ flagged: false })
    expect(await ask(moderation, { content: 'A fox. [UNSAFE]' })).toEqual({
      flagged: true,
      categories: ['marked as unsafe'],
    })
    for (const topic of ['foxes', 'hens', 'cars', 'rain', 'soup', 'tea', 'trams', 'moss']) {
      const about = async (prompt: string) => await ask('openai/gpt-5-mini', { prompt, outputSchema: verdict })
      expect(await about(`Is this about ${topic} safe?`)).toEqual({ text: '{"safe":true}' })
      expect(await about(`Is this about ${topic} [unsafe] safe?`)).toEqual({ text: '{"safe":false}' })
    }
  })
})
