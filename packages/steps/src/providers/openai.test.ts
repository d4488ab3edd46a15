// The adapter against a loopback server that speaks OpenAI's wire format: what is sent, and what is made of the answers.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { InputFile, ProviderAnswer } from '@fabrique/engine'
import { anArtifact } from '@fabrique/engine/testing'
import type { JsonObject } from '@fabrique/schema'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openai } from './openai.ts'

interface Asked {
  path: string
  callId: string | undefined
  body: JsonObject
}

let asked: Asked[]
let answers: { status?: number; body: JsonObject }[]
let baseUrl: string
const server = createServer((request, response) => {
  answer(request, response).catch(() => response.destroy())
})

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  asked.push({
    path: request.url ?? '',
    callId: request.headers['idempotency-key']?.toString(),
    body: JSON.parse(Buffer.concat(chunks).toString()) as JsonObject,
  })
  const { status = 200, body } = answers.shift() ?? { status: 500, body: {} }
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

beforeEach(async () => {
  asked = []
  answers = []
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`
})
afterEach(async () => {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
})

async function call(name: string, request: JsonObject, files: Record<string, InputFile> = {}): Promise<ProviderAnswer> {
  const model = openai.provider.model(name)
  if (model === undefined) throw new Error(`there is no model ${name}`)
  return await openai.connect({ apiKey: 'sk-loopback', baseUrl }).call({
    model,
    request,
    files,
    callId: 'run.step.1',
    signal: new AbortController().signal,
    resumeId: null,
    onRequestId: async () => {},
    onProgress: () => {},
  })
}

function responding(...output: JsonObject[]): JsonObject {
  return {
    id: 'resp_1',
    object: 'response',
    status: 'completed',
    output,
    usage: {
      input_tokens: 30,
      input_tokens_details: { cached_tokens: 10 },
      output_tokens: 7,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: 37,
    },
  }
}
const message = (...content: JsonObject[]): JsonObject => ({
  id: 'msg_1',
  type: 'message',
  role: 'assistant',
  status: 'completed',
  content,
})
const words = (text: string) => message({ type: 'output_text', text, annotations: [] })
const functionCall = (callId: string, name: string, args: string): JsonObject => ({
  id: `fc_${callId}`,
  type: 'function_call',
  status: 'completed',
  call_id: callId,
  name,
  arguments: args,
})
const reasoning: JsonObject = { id: 'rs_1', type: 'reasoning', summary: [] }

function picture(id: string): InputFile {
  return { record: anArtifact(id, { mimeType: 'image/png' }), bytes: Buffer.from(id) }
}
const dataUrl = (id: string) => `data:image/png;base64,${Buffer.from(id).toString('base64')}`

const TOOLS = [
  { name: 'image.convert', description: 'Converts a picture.', parameters: { type: 'object', properties: {} } },
  { name: 'text.save', description: 'Saves a text.', parameters: { type: 'object', required: ['text'] } },
]
const AGENT: JsonObject = { prompt: 'Do it.', system: 'Be brief.', params: { temperature: 0 }, tools: TOOLS, turns: [] }

describe("an agent's turn at OpenAI", () => {
  it('offers the tools as functions under names without dots, and answers calls under their own names', async () => {
    const output = [
      reasoning,
      functionCall('a', 'image_convert', '{"format":"webp"}'),
      functionCall('b', 'shell_run', '{}'),
      functionCall('c', 'text_save', '{"text": '),
    ]
    answers = [{ body: responding(...output) }]
    const answer = await call('openai/gpt-5-mini', AGENT)
    expect(asked).toEqual([
      {
        path: '/v1/responses',
        callId: 'run.step.1',
        body: {
          model: 'gpt-5-mini',
          temperature: 0,
          instructions: 'Be brief.',
          input: [{ role: 'user', content: [{ type: 'input_text', text: 'Do it.' }] }],
          tools: [
            {
              type: 'function',
              name: 'image_convert',
              description: 'Converts a picture.',
              parameters: { type: 'object', properties: {} },
              strict: false,
            },
            {
              type: 'function',
              name: 'text_save',
              description: 'Saves a text.',
              parameters: { type: 'object', required: ['text'] },
              strict: false,
            },
          ],
          stream: false,
        },
      },
    ])
    expect(answer).toEqual({
      output: {
        text: '',
        calls: [
          { id: 'a', name: 'image.convert', arguments: { format: 'webp' } },
          { id: 'b', name: 'shell_run', arguments: {} },
          { id: 'c', name: 'text.save', arguments: null },
        ],
        items: output,
      },
      files: [],
      usage: [
        { unit: 'input_token', quantity: 20 },
        { unit: 'cached_input_token', quantity: 10 },
        { unit: 'output_token', quantity: 7 },
      ],
    })
  })

  it('hands back the items of every earlier turn untouched, each turn followed by its results', async () => {
    const first = [reasoning, functionCall('a', 'text_save', '{"text":"x"}')]
    const second = [functionCall('b', 'text_save', '{}')]
    answers = [{ body: responding(words('Saved.')) }]
    const answer = await call('openai/gpt-5-mini', {
      ...AGENT,
      turns: [
        { items: first, results: [{ id: 'a', output: '{"artifact":{"id":"f1"}}' }] },
        { items: second, results: [{ id: 'b', output: '{"error":"no text"}' }] },
      ],
    })
    expect(asked[0]?.body.input).toEqual([
      { role: 'user', content: [{ type: 'input_text', text: 'Do it.' }] },
      ...first,
      { type: 'function_call_output', call_id: 'a', output: '{"artifact":{"id":"f1"}}' },
      ...second,
      { type: 'function_call_output', call_id: 'b', output: '{"error":"no text"}' },
    ])
    expect(answer.output).toEqual({ text: 'Saved.', calls: [], items: [words('Saved.')] })
  })

  it('takes an output schema beside the tools, and no tools from the params', async () => {
    answers = [{ body: responding(words('{}')) }]
    const outputSchema = { type: 'object' }
    await call('openai/gpt-5-mini', { ...AGENT, params: { tools: [{ type: 'web_search' }] }, outputSchema })
    expect(asked[0]?.body).toMatchObject({
      text: { format: { type: 'json_schema', name: 'output', schema: outputSchema, strict: false } },
    })
    expect(asked[0]?.body.tools).toMatchObject([{ name: 'image_convert' }, { name: 'text_save' }])
  })

  it('is held to an output schema that strict mode takes', async () => {
    answers = [{ body: responding(words('{}')) }]
    const schema = { type: 'object', properties: {}, required: [], additionalProperties: false }
    await call('openai/gpt-5-mini', { ...AGENT, outputSchema: schema })
    expect(asked[0]?.body).toMatchObject({ text: { format: { type: 'json_schema', schema, strict: true } } })
  })

  it('fails as refused where the model refuses, and as bad output where it was cut off; both are billed', async () => {
    answers = [
      { body: responding(message({ type: 'refusal', refusal: 'I cannot.' })) },
      { body: { ...responding(functionCall('a', 'text_save', '{"te')), status: 'incomplete' } },
    ]
    const refused = { failureClass: 'refused', code: 'content-refused', billed: 'yes' }
    await expect(call('openai/gpt-5-mini', AGENT)).rejects.toMatchObject(refused)
    await expect(call('openai/gpt-5-mini', AGENT)).rejects.toMatchObject({ failureClass: 'bad_output', billed: 'yes' })
  })

  it('sends a failed request once: trying again is the business of the engine', async () => {
    answers = [{ status: 500, body: { error: { message: 'oops' } } }]
    await expect(call('openai/gpt-5-mini', AGENT)).rejects.toMatchObject({ failureClass: 'server', billed: 'no' })
    expect(asked).toHaveLength(1)
  })
})

describe('a text at OpenAI', () => {
  it('is asked for by the plain prompt, and answered without calls', async () => {
    answers = [{ body: responding(words('Hello.')) }]
    const answer = await call('openai/gpt-5-mini', { prompt: 'Say hello.', system: null, params: {} })
    expect(asked[0]?.body).toEqual({ model: 'gpt-5-mini', input: 'Say hello.', stream: false })
    expect(answer.output).toEqual({ text: 'Hello.' })
  })

  it('shows the model the pictures that come with the prompt', async () => {
    answers = [{ body: responding(words('A fox.')) }]
    await call('openai/gpt-5-mini', { prompt: 'What is it?', params: {} }, { image: picture('fox') })
    expect(asked[0]?.body.input).toEqual([
      {
        role: 'user',
        content: [
          { type: 'input_text', text: 'What is it?' },
          { type: 'input_image', image_url: dataUrl('fox'), detail: 'auto' },
        ],
      },
    ])
  })
})

describe('a verdict of OpenAI', () => {
  const verdict = (flagged: boolean, categories: JsonObject = {}) => ({
    body: { id: 'modr_1', model: 'omni-moderation-latest', results: [{ flagged, categories, category_scores: {} }] },
  })
  const MODEL = 'openai/omni-moderation-latest'

  it('is asked of the moderation operation, for the content alone', async () => {
    answers = [verdict(true, { violence: true, 'hate/threatening': false, illicit: null })]
    expect(openai.provider.model(MODEL)).toMatchObject({ capability: 'moderation', operation: 'moderations.create' })
    const answer = await call(MODEL, { prompt: 'Is this safe? A fight.', content: 'A fight.' })
    expect(asked).toEqual([
      {
        path: '/v1/moderations',
        callId: 'run.step.1.1',
        body: { model: 'omni-moderation-latest', input: [{ type: 'text', text: 'A fight.' }] },
      },
    ])
    expect(answer).toEqual({
      output: { flagged: true, categories: ['violence'] },
      files: [],
      usage: [{ unit: 'request', quantity: 1 }],
    })
  })

  it('covers the text and every picture, one a request, and is unsafe where one of them is', async () => {
    answers = [verdict(false), verdict(true, { sexual: true }), verdict(false, { sexual: false })]
    const answer = await call(MODEL, { prompt: 'A fox.' }, { one: picture('one'), two: picture('two') })
    expect(asked.map(({ body }) => body.input)).toEqual([
      [{ type: 'text', text: 'A fox.' }],
      [{ type: 'image_url', image_url: { url: dataUrl('one') } }],
      [{ type: 'image_url', image_url: { url: dataUrl('two') } }],
    ])
    expect(answer.output).toEqual({ flagged: true, categories: ['sexual'] })
    expect(answer.usage).toEqual([{ unit: 'request', quantity: 3 }])
  })

  it('is never taken for granted: no content, or an answer without a verdict, is a failure', async () => {
    await expect(call(MODEL, { content: ' ' })).rejects.toMatchObject({ failureClass: 'invalid' })
    expect(asked).toEqual([])
    for (const body of [{ results: [] }, { ok: true }, { results: [{ flagged: 'no' }] }]) {
      answers = [{ body }]
      await expect(call(MODEL, { content: 'x' })).rejects.toMatchObject({ failureClass: 'bad_output' })
    }
  })
})

describe('what OpenAI is expected to use', () => {
  const tokensOf = (request: JsonObject) => {
    const model = openai.provider.model('openai/gpt-5-mini')
    if (model === undefined) throw new Error('there is no such model')
    return openai.provider.expectedUsage(model, request).map(({ quantity }) => quantity)
  }

  it('is for an agent as for a text, times its turns, of which three are likely', () => {
    const text = { prompt: 'x'.repeat(400), system: '', params: {} }
    expect(tokensOf(text)).toEqual([100, 1000])
    expect(tokensOf({ ...text, tools: ['text.save'], maxTurns: 2 })).toEqual([200, 2000])
    expect(tokensOf({ ...text, tools: ['text.save'], maxTurns: 50 })).toEqual([300, 3000])
  })

  it('is for one of its turns what has been said so far, once', () => {
    const turn = { prompt: 'x'.repeat(400), params: {}, tools: TOOLS, maxTurns: 50 }
    const [first = 0, answered] = tokensOf({ ...turn, turns: [] })
    const [later] = tokensOf({ ...turn, turns: [{ items: [], results: [{ id: 'a', output: 'y'.repeat(4000) }] }] })
    expect(answered).toBe(1000)
    expect(later).toBeGreaterThanOrEqual(first + 1000)
  })
})
