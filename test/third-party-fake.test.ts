// The OpenAI adapter against a fake that others keep: our own stand-ins and the adapter may share a misunderstanding.
import { LLMock } from '@copilotkit/aimock'
import type { ProviderAnswer } from '@fabrique/engine'
import type { JsonObject } from '@fabrique/schema'
import { createSimulatedClient, simulationMissing } from '@fabrique/simulators'
import { createProviders, createStandardCatalog } from '@fabrique/steps'
import sharp from 'sharp'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'

const fake = new LLMock({ port: 0 })

beforeAll(async () => void (await fake.start()))
afterAll(() => fake.stop())
beforeEach(() => void fake.reset())

async function call(name: string, request: JsonObject): Promise<ProviderAnswer> {
  const model = createStandardCatalog().model(name)
  if (model === undefined) throw new Error(`there is no model ${name}`)
  const settings = { openai: { apiKey: 'sk-fake', baseUrl: `${fake.url}/v1` } }
  const providers = createProviders({ mode: 'live', settings }, { createSimulatedClient, simulationMissing })
  return await providers.call(false, {
    model,
    request,
    files: {},
    callId: 'run.step.1',
    signal: new AbortController().signal,
    resumeId: null,
    onRequestId: async () => {},
    onProgress: () => {},
  })
}

describe('the adapter and a fake of others', () => {
  it('understand each other about texts, and the usage of the answer is read', async () => {
    fake.onMessage(/fox/, { content: 'It is red.', usage: { input_tokens: 12, output_tokens: 4 } })
    const answer = await call('openai/gpt-6.1-terra', {
      prompt: 'Of what colour is the fox?',
      system: 'Be brief.',
      params: {},
    })
    expect(answer.output).toEqual({ text: 'It is red.' })
    expect(answer.basis).toBeUndefined()
    expect(answer.usage).toMatchObject([
      { unit: 'input_token', quantity: 12 },
      { unit: 'output_token', quantity: 4 },
    ])
  })

  it('understand each other about the calls of an agent', async () => {
    fake.onMessage(/fox/, { toolCalls: [{ name: 'text_save', arguments: '{"text":"red"}' }] })
    const tools = [{ name: 'text.save', description: 'Saves a text.', parameters: { type: 'object', properties: {} } }]
    const { output } = await call('openai/gpt-6.1-terra', { prompt: 'Save the fox.', params: {}, tools, turns: [] })
    expect(output.calls).toMatchObject([{ name: 'text.save', arguments: { text: 'red' } }])
  })

  it('understand each other about pictures', async () => {
    const bytes = await sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } })
      .png()
      .toBuffer()
    fake.onImage(/fox/, { image: { b64Json: bytes.toString('base64') } })
    const answer = await call('openai/gpt-image-2', { prompt: 'a fox', params: { size: '1024x1024', quality: 'low' } })
    expect(answer.files).toMatchObject([{ name: 'image' }])
    expect(Buffer.compare(answer.files[0]?.bytes ?? Buffer.of(), bytes)).toBe(0)
    expect(answer.usage.length).toBeGreaterThan(0)
  })

  it('understand each other about failures, each asked once', async () => {
    fake.onMessage(/fox/, { content: 'never' })
    fake.nextRequestError(429, { message: 'Rate limit reached.', type: 'rate_limit_error' })
    await expect(call('openai/gpt-6.1-terra', { prompt: 'a fox', params: {} })).rejects.toMatchObject({
      failureClass: 'rate_limit',
      // The fake's own Retry-After.
      retryAfterMs: 1_000,
    })
    expect(fake.getRequests()).toHaveLength(1)
  })
})
