// The adapter against a loopback server that speaks OpenAI's wire format: what is sent, and what is made of the answers.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { InputFile, Model, ProviderAnswer, ProviderRequest } from '@fabrique/engine'
import { anArtifact } from '@fabrique/engine/testing'
import type { JsonObject, Unit } from '@fabrique/schema'
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
    body: JSON.parse(Buffer.concat(chunks).toString() || '{}') as JsonObject,
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

async function call(
  name: string,
  request: JsonObject,
  files: Record<string, InputFile> = {},
  over: Partial<ProviderRequest> = {},
): Promise<ProviderAnswer> {
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
    ...over,
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
        { unit: 'input_token', quantity: 20, facts: { prompt_tokens: 30 } },
        { unit: 'cached_input_token', quantity: 10, facts: { prompt_tokens: 30 } },
        { unit: 'output_token', quantity: 7, facts: { prompt_tokens: 30 } },
      ],
      requestId: 'resp_1',
      reported: responding().usage,
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

  it('fails as refused where the model refuses, and for good where it was cut off; both are billed by their usage', async () => {
    answers = [
      { body: responding(message({ type: 'refusal', refusal: 'I cannot.' })) },
      { body: { ...responding(functionCall('a', 'text_save', '{"te')), status: 'incomplete' } },
    ]
    const refused = { failureClass: 'refused', code: 'content-refused', billed: 'yes' }
    await expect(call('openai/gpt-5-mini', AGENT)).rejects.toMatchObject(refused)
    const cut = { failureClass: 'invalid', code: 'output-incomplete', billed: 'yes', facts: { requestId: 'resp_1' } }
    await expect(call('openai/gpt-5-mini', AGENT)).rejects.toMatchObject(cut)
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

describe('an answer of OpenAI as it is', () => {
  const text = (over: JsonObject) => {
    answers = [{ body: { ...responding(words('Hello.')), ...over } }]
    return call('openai/gpt-5-mini', {
      prompt: 'Say hello to the fox in the garden.',
      params: { max_output_tokens: 50 },
    })
  }

  it('says which model and tier were charged, and keeps the usage as it came', async () => {
    const answer = await text({ model: 'gpt-5-mini-2025-08-07', service_tier: 'flex' })
    expect(answer).toMatchObject({ servedModel: 'gpt-5-mini-2025-08-07', tier: 'flex', requestId: 'resp_1' })
    expect(answer.reported).toMatchObject({ total_tokens: 37 })
  })

  it('is the final answer where it has phases, and all of its messages where it has none', async () => {
    const commentary = { ...words('Let me see. '), phase: 'commentary' }
    const output = [
      commentary,
      { ...words('It is '), phase: 'final_answer' },
      { ...words('red.'), phase: 'final_answer' },
    ]
    expect((await text({ output })).output.text).toBe('It is red.')
    expect((await text({ output: [words('One. '), words('Two.')] })).output.text).toBe('One. Two.')
  })

  it.each<[string, JsonObject, object]>([
    [
      'failed for a fault',
      { code: 'server_error', message: 'oops' },
      { failureClass: 'server', billed: 'no', isFinal: true },
    ],
    [
      'failed for a rate',
      { code: 'rate_limit_exceeded', message: 'slow' },
      { failureClass: 'rate_limit', billed: 'no' },
    ],
    ['failed for its content', { code: 'content_filter' }, { failureClass: 'refused' }],
    [
      'failed for a parameter',
      { type: 'invalid_request_error', param: 'reasoning.effort', message: 'not so' },
      { code: 'provider-rejected', message: expect.stringContaining('reasoning.effort') },
    ],
  ])('%s inside a success is a failure of that kind', async (_, error, expected) => {
    await expect(text({ status: 'failed', output: [], usage: null, error })).rejects.toMatchObject(expected)
  })

  it('that is nothing but a message is a fault that costs nothing', async () => {
    answers = [{ body: { error: 'upstream overloaded' } }]
    const failing = call('openai/gpt-5-mini', { prompt: 'x', params: {} })
    await expect(failing).rejects.toMatchObject({ failureClass: 'server', billed: 'no' })
  })

  it('that searched the web is charged for the searches, not for the pages that were opened', async () => {
    const looked = ['search', 'open_page', 'find_in_page'].map((type) => ({
      type: 'web_search_call',
      action: { type },
    }))
    const { usage } = await text({ output: [...looked, { type: 'web_search_call' }, words('Found.')] })
    expect(usage.find(({ unit }) => unit === 'web_search_call')?.quantity).toBe(2)
  })

  const counted = {
    input_tokens: 100,
    input_tokens_details: { cached_tokens: 10, cache_write_tokens: 5, audio_tokens: 7, image_tokens: 20 },
    output_tokens: 50,
    output_tokens_details: { reasoning_tokens: 30, audio_tokens: 4 },
  }
  it.each<[string, Unit[], Partial<Record<Unit, number>>]>([
    ['what has no price of its own with the rest', [], { input_token: 78, output_token: 46, web_search_call: 1 }],
    [
      'what has one apart',
      ['reasoning_token', 'image_input_token', 'file_search_call'],
      {
        input_token: 58,
        image_input_token: 20,
        output_token: 16,
        reasoning_token: 30,
        web_search_call: 1,
        file_search_call: 1,
      },
    ],
  ])('is charged by all that its usage tells apart, %s', async (_, pricedIn, expected) => {
    const output = [{ type: 'web_search_call' }, { type: 'file_search_call' }, words('Found.')]
    answers = [{ body: { ...responding(...output), usage: counted } }]
    const model = { ...openai.provider.model('openai/gpt-5-mini'), pricedIn } as Model
    const { usage } = await call(model.name, { prompt: 'x', params: {} }, {}, { model })
    const always = { cached_input_token: 10, cache_write_input_token: 5, audio_input_token: 7, audio_output_token: 4 }
    expect(Object.fromEntries(usage.map(({ unit, quantity }) => [unit, quantity]))).toEqual({ ...always, ...expected })
  })

  it('that failed after it was charged carries its usage', async () => {
    const failing = text({ status: 'failed', error: { code: 'server_error', message: 'oops' } })
    await expect(failing).rejects.toMatchObject({
      billed: 'yes',
      facts: { usage: [{ quantity: 20 }, { quantity: 10 }, { quantity: 7 }] },
    })
  })

  it.each([
    ['max_output_tokens', { code: 'output-incomplete', message: expect.stringContaining('max_output_tokens (50)') }],
    ['content_filter', { code: 'content-refused' }],
  ])('cut off by %s says so', async (reason, expected) => {
    await expect(text({ status: 'incomplete', incomplete_details: { reason } })).rejects.toMatchObject(expected)
  })

  it('without a word is bad output, and paid', async () => {
    await expect(text({ output: [] })).rejects.toMatchObject({ failureClass: 'bad_output', billed: 'yes' })
  })

  it.each<[string, JsonObject | null, number]>([
    ['in the spelling of Chat Completions', { prompt_tokens: 5, completion_tokens: 2 }, 2],
    ['that is absent', null, 0],
    ['that is partial', { output_tokens: 7 }, 0],
    ['of nothing', { input_tokens: 0, output_tokens: 0 }, 0],
    [
      'with details that exceed it',
      { input_tokens: 5, output_tokens: 2, input_tokens_details: { cached_tokens: 900 } },
      2,
    ],
  ])('with a usage %s is an answer all the same', async (_, usage, kinds) => {
    const answer = await text({ usage })
    expect(answer.output.text).toBe('Hello.')
    expect(answer.usage).toHaveLength(kinds)
  })

  it('that is made in the background is waited for by its id, and asked for by it after a crash', async () => {
    const queued = { ...responding(), status: 'queued' }
    answers = [{ body: queued }, { body: { ...queued, status: 'in_progress' } }, { body: responding(words('Done.')) }]
    const accepted: string[] = []
    const asking = { prompt: 'Think.', params: { background: true } }
    const answer = await call('openai/gpt-5-mini', asking, {}, { onRequestId: async (id) => void accepted.push(id) })
    expect([answer.output.text, accepted]).toEqual(['Done.', ['resp_1']])
    answers = [{ body: responding(words('Done.')) }]
    await call('openai/gpt-5-mini', asking, {}, { resumeId: 'resp_1' })
    expect(asked.map(({ path }) => path)).toEqual([
      '/v1/responses',
      '/v1/responses/resp_1',
      '/v1/responses/resp_1',
      '/v1/responses/resp_1',
    ])
  })

  it.each([
    ['deadline', ['/v1/responses', '/v1/responses/resp_1/cancel']],
    ['shutdown', ['/v1/responses']],
  ])('that is made in the background and stopped by %s is given up there only for good', async (reason, paths) => {
    answers = [{ body: { ...responding(), status: 'queued' } }, { body: responding() }]
    const stop = new AbortController()
    const over = { signal: stop.signal, onRequestId: async () => stop.abort(reason) }
    const asking = call('openai/gpt-5-mini', { prompt: 'Think.', params: { background: true } }, {}, over)
    await expect(asking).rejects.toMatchObject({ failureClass: 'timeout' })
    expect(asked.map(({ path }) => path)).toEqual(paths)
  })

  it('keeps verbosity beside an output schema', async () => {
    answers = [{ body: responding(words('{}')) }]
    const params = { text: { verbosity: 'low' } }
    await call('openai/gpt-5-mini', { prompt: 'x', params, outputSchema: { type: 'object' } })
    expect(asked[0]?.body.text).toMatchObject({ verbosity: 'low', format: { type: 'json_schema' } })
  })
})

describe('pictures of OpenAI', () => {
  const drawn = (body: JsonObject) => {
    answers = [{ body }]
    const params = { size: '1024x1024', quality: 'medium', n: 2 }
    return call('openai/gpt-image-2', { prompt: 'a fox', params })
  }
  const encoded = Buffer.from('picture').toString('base64')

  it('come as data URLs too, in either field', async () => {
    const url = `data:image/webp;base64,${encoded}`
    const answer = await drawn({ data: [{ url }, { b64_json: url }] })
    const file = { name: 'image', mimeType: 'image/webp', bytes: Buffer.from('picture') }
    expect([answer.files, answer.links]).toEqual([[file, file], undefined])
  })

  it('come as bytes or links, as many as there are', async () => {
    const answer = await drawn({ created: 1, data: [{ b64_json: encoded }, { url: 'https://files.example/2.png' }] })
    expect(asked[0]?.body).toMatchObject({ n: 2, size: '1024x1024' })
    expect(answer.files).toMatchObject([{ name: 'image', bytes: Buffer.from('picture') }])
    expect(answer.links).toEqual([{ name: 'image', url: 'https://files.example/2.png' }])
  })

  it('are charged by their usage, with or without its details', async () => {
    const usage = { input_tokens: 50, output_tokens: 1056, total_tokens: 1106 }
    const plain = await drawn({ data: [{ b64_json: encoded }], usage })
    expect(plain.usage).toEqual([
      { unit: 'input_token', quantity: 50 },
      { unit: 'image_output_token', quantity: 1056 },
    ])
    const details = {
      input_tokens_details: { text_tokens: 40, image_tokens: 10 },
      output_tokens_details: { text_tokens: 56, image_tokens: 1000 },
    }
    const whole = await drawn({ data: [{ b64_json: encoded }], usage: { ...usage, ...details } })
    expect(whole.usage.map(({ unit, quantity }) => [unit, quantity])).toEqual([
      ['input_token', 40],
      ['image_input_token', 10],
      ['output_token', 56],
      ['image_output_token', 1000],
    ])
    const cached = { input_tokens_details: { text_tokens: 40, image_tokens: 10, cached_tokens: 42 } }
    const again = await drawn({ data: [{ b64_json: encoded }], usage: { ...usage, ...cached } })
    expect(again.usage.map(({ unit, quantity }) => [unit, quantity])).toEqual([
      ['cached_input_token', 40],
      ['image_input_token', 8],
      ['cached_image_input_token', 2],
      ['image_output_token', 1056],
    ])
  })

  it('without a usage are measured: how many, of which size and quality the answer says', async () => {
    const answer = await drawn({
      data: [{ b64_json: encoded }, { b64_json: encoded }],
      quality: 'high',
      size: '1536x1024',
    })
    expect(answer).toMatchObject({ basis: 'measured' })
    expect(answer.usage[0]).toEqual({ unit: 'image', quantity: 2, facts: { quality: 'high', size: '1536x1024' } })
  })

  it('that are not there are bad output, and an error inside a success is that error', async () => {
    await expect(drawn({ data: [] })).rejects.toMatchObject({ failureClass: 'bad_output', billed: 'yes' })
    await expect(drawn({ error: { code: 'moderation_blocked' } })).rejects.toMatchObject({ failureClass: 'refused' })
  })
})

describe('a failure of OpenAI', () => {
  it.each<[string, number, JsonObject, object]>([
    [
      'as an error object',
      400,
      { error: { message: "Unknown parameter: 'qualty'.", code: 'unknown_parameter', param: 'qualty' } },
      { code: 'provider-rejected', message: expect.stringContaining('qualty') },
    ],
    [
      'as a gateway writes it',
      422,
      { detail: 'size must be a multiple of 16' },
      { message: expect.stringContaining('multiple of 16') },
    ],
    ['as text', 503, {}, { failureClass: 'server', billed: 'no' }],
    [
      'that says in its words how long to wait',
      429,
      { error: { message: 'Rate limit reached. Please try again in 1m20s.', code: 'rate_limit_exceeded' } },
      { failureClass: 'rate_limit', retryAfterMs: 80_000 },
    ],
  ])('%s reaches whoever must act', async (_, status, body, expected) => {
    answers = [{ status, body }]
    await expect(call('openai/gpt-5-mini', { prompt: 'x', params: {} })).rejects.toMatchObject(expected)
    expect(asked).toHaveLength(1)
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
      basis: 'measured',
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
