import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { JsonObject, Problem, RunResource } from '@fabrique/schema'
import { parseDocument } from '@fabrique/schema'
import { readShippedDocuments } from '@fabrique/templates'
import { type Fabrique, startFabrique } from './harness.ts'

/** The seed's own workflow.json, byte for byte. */
const SEED_WORKFLOW = `{
"id": "generate-clip-art-asset",
"name": "Generate Clip Art Asset",
"artifactClass": "visual",
"version": "2026.05.16",
"cadence": "On demand",
"providers": {
"image": "openai/gpt-image-2",
"backgroundRemoval": "fal/birefnet-light"
},
"gates": ["prompt resolution", "provider execution", "background removal", "storage metadata", "HITL review"],
"budgetPolicy": "Records estimated OpenAI image and fal.ai background-removal costs per run"
}`

type TemplateBody = JsonObject & { problems: Problem[]; visibility: string; version: string }
type ProblemBody = { code: string; detail: string; errors?: Problem[] }

let fabrique: Fabrique
let clipArt: JsonObject

beforeAll(async () => {
  fabrique = await startFabrique({ workers: 1 })
  const { templates } = await readShippedDocuments()
  clipArt = templates[0] as JsonObject
})
afterAll(() => fabrique?.stop())

const post = <Body = TemplateBody>(path: string, body: unknown, headers: Record<string, string> = {}) =>
  fabrique.request<Body>(path, { method: 'POST', body, headers })
const patch = <Body = TemplateBody>(id: string, body: unknown, headers: Record<string, string> = {}) =>
  fabrique.request<Body>(`/v1/workflows/${id}`, { method: 'PATCH', body, headers })
const get = <Body = TemplateBody>(path: string, key?: string | null) =>
  fabrique.request<Body>(path, key === undefined ? {} : { key })

/** A workflow of one local step: free, quick, and without a review. */
function echo(id: string, text: string, over: JsonObject = {}): JsonObject {
  return {
    id,
    name: 'Echo',
    artifactClass: 'knowledge',
    version: '2026.06.01',
    schemaVersion: 'workflow-schema-v1',
    cadence: 'On demand',
    intakeSchema: { type: 'object', required: ['word'], properties: { word: { type: 'string', minLength: 1 } } },
    runtimeSteps: [{ id: 'say', kind: 'tool', tool: 'value.pass', args: { value: text } }],
    providers: {},
    gates: [],
    budgetPolicy: 'free',
    artifactSchema: { artifactType: 'echo', files: [] },
    ...over,
  }
}

async function outputOf(workflow: string, query = ''): Promise<unknown> {
  const answer = await fabrique.request<RunResource>(`/v1/workflows/runs${query}`, {
    method: 'POST',
    headers: { prefer: 'wait=30' },
    body: { workflow, input: { word: 'hi' } },
  })
  expect(answer.status, answer.text).toBe(202)
  expect(answer.body.status, answer.text).toBe('completed')
  return answer.body.outputs[0]?.output
}

describe("the seed's workflow.json", () => {
  const id = 'clip-art-of-the-seed'
  const seed = SEED_WORKFLOW.replace('"generate-clip-art-asset"', `"${id}"`)

  it('is accepted as a draft, in the words of the seed', async () => {
    const answer = await post('/v1/workflows', seed, { 'content-type': 'application/json' })
    expect(answer.status, answer.text).toBe(201)
    expect(answer.body.visibility).toBe('draft')
    expect(answer.body.problems.map(({ code, pointer }) => `${code} ${pointer}`)).toEqual(
      expect.arrayContaining([
        'no-steps /runtimeSteps',
        'missing-field /intakeSchema',
        'missing-field /artifactSchema',
        'missing-field /schemaVersion',
      ]),
    )
  })

  it('is refused for listing, with everything that is missing at once', async () => {
    const answer = await patch<ProblemBody>(id, { visibility: 'public' })
    expect(answer.status).toBe(422)
    expect(answer.body.code).toBe('not-publishable')
    expect(
      answer.body.errors?.every(
        ({ guard, pointer, detail }) => guard === 'executability' && pointer.startsWith('/') && detail.length > 0,
      ),
    ).toBe(true)
    expect(answer.body.errors?.length).toBeGreaterThanOrEqual(4)
    expect((await get(`/v1/workflows/${id}`)).body.visibility).toBe('draft')
  })

  it('is not runnable by operators, nor seen by them, while it is a draft', async () => {
    const { key } = await fabrique.createOperator('authoring')
    expect((await get(`/v1/workflows/${id}`, key)).status).toBe(404)
    const run = await fabrique.request('/v1/workflows/runs', {
      method: 'POST',
      key,
      body: { workflow: id, input: { prompt: 'a fox' } },
    })
    expect(run.status).toBe(404)
  })

  it('is listed, run, versioned and demoted once it is complete', async () => {
    const { schemaVersion, intakeSchema, runtimeSteps, artifactSchema, outputAliases } = clipArt
    const completed = { schemaVersion, intakeSchema, runtimeSteps, artifactSchema, outputAliases, visibility: 'public' }
    const listed = await patch(id, completed)
    expect(listed.status, listed.text).toBe(200)
    expect(listed.body.problems).toEqual([])
    const catalog = await get<{ data: JsonObject[] }>('/v1/catalog', null)
    const shown = catalog.body.data.find((one) => one.id === id)
    expect(shown?.runtimeSteps).toContainEqual({ id: 'render', kind: 'image', name: 'Draw the subject' })
    expect(JSON.stringify(shown)).not.toContain('promptTemplate')

    await fabrique.submit({ workflow: id, input: { prompt: 'a fox' } })

    expect((await patch<ProblemBody>(id, { runtimeSteps: [] })).status).toBe(409)
    const next = await patch(id, { version: '2026.05.17', onUnknownOutcome: 'fail' })
    expect(next.status, next.text).toBe(200)
    const versions = await get<{ data: { version: string; current: boolean }[] }>(`/v1/workflows/versions?name=${id}`)
    expect(versions.body.data.map(({ version, current }) => [version, current])).toEqual([
      ['2026.05.17', true],
      ['2026.05.16', false],
    ])
    expect((await get(`/v1/workflows/${id}?version=2026.05.16`)).body.onUnknownOutcome).toBeUndefined()

    const { key } = await fabrique.createOperator('authoring')
    expect((await patch(id, { visibility: 'internal' })).status).toBe(200)
    expect((await get(`/v1/catalog/${id}`, null)).status).toBe(404)
    expect((await get(`/v1/workflows/${id}`, key)).status).toBe(200)
    expect((await patch(id, { visibility: 'draft' })).status).toBe(200)
    expect((await get(`/v1/workflows/${id}`, key)).status).toBe(404)
  })
})

describe('authoring', () => {
  it('answers 403 to an operator and 401 without a key', async () => {
    const { key } = await fabrique.createOperator('authoring')
    for (const [method, path] of [
      ['POST', '/v1/workflows'],
      ['PATCH', '/v1/workflows/generate-clip-art-asset'],
      ['POST', '/v1/workflows/backtest?name=generate-clip-art-asset'],
      ['POST', '/v1/pricing'],
    ] as const) {
      expect((await fabrique.request(path, { method, key, body: {} })).status, `${method} ${path}`).toBe(403)
      expect((await fabrique.request(path, { method, key: null, body: {} })).status).toBe(401)
    }
  })

  it('takes YAML and TOML as well as JSON, and a draft however broken', async () => {
    const yaml = await post('/v1/workflows', 'id: drafts/in-yaml\nruntimeSteps: nonsense\n', {
      'content-type': 'application/yaml',
    })
    expect(yaml.status, yaml.text).toBe(201)
    expect(yaml.body.problems.length).toBeGreaterThan(5)
    const toml = await post('/v1/workflows', 'id = "drafts/in-toml"\ngates = ["HITL review"]\n', {
      'content-type': 'application/toml',
    })
    expect(toml.status, toml.text).toBe(201)
    expect(toml.body.gates).toEqual([{ id: 'hitl-review', name: 'HITL review', type: 'hitl-review' }])
  })

  it('refuses ids that are taken, reserved or not ids, and names the place', async () => {
    expect((await post('/v1/workflows', { id: 'generate-clip-art-asset' })).status).toBe(409)
    for (const id of ['runs/mine', 'bundle/mine', 'Has Spaces', '', 7, undefined]) {
      const answer = await post<ProblemBody>('/v1/workflows', { id })
      expect(answer.status, String(id)).toBe(422)
      expect(answer.body.errors?.[0]?.pointer).toBe('/id')
    }
    expect((await patch('drafts/in-yaml', { id: 'drafts/renamed' })).status).toBe(409)
  })

  it('lists at once with visibility in the POST, and then runs the guards', async () => {
    expect(
      (await post('/v1/workflows', { ...echo('echo/broken', 'x'), visibility: 'internal', gates: ['no such gate'] }))
        .status,
    ).toBe(422)
    expect((await get('/v1/workflows/echo%2Fbroken')).status).toBe(404)
    const answer = await post('/v1/workflows', {
      ...echo('echo/listed', 'You said {intake.word}'),
      visibility: 'internal',
    })
    expect(answer.status, answer.text).toBe(201)
    expect(answer.headers.get('location')).toBe('/v1/workflows/echo/listed')
    expect((await get('/v1/workflows/echo%2Flisted')).status).toBe(200)
    expect(await outputOf('echo/listed')).toEqual({ say: { value: 'You said hi' } })
  })

  it('lets one of two concurrent edits win, and tells the other', async () => {
    await post('/v1/workflows', { id: 'drafts/contested', name: 'start' })
    const etag = (await get('/v1/workflows/drafts/contested')).headers.get('etag') ?? ''
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        patch('drafts/contested', { name: `edit ${index}` }, { 'if-match': etag }),
      ),
    )
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, ...Array(9).fill(412)])
    const winner = answers.find(({ status }) => status === 200)?.body.name
    expect((await get('/v1/workflows/drafts/contested')).body.name).toBe(winner)
  })

  it('keeps both of two concurrent edits that touch different fields', async () => {
    await post('/v1/workflows', { id: 'drafts/shared' })
    await Promise.all([
      patch('drafts/shared', { name: 'a' }),
      patch('drafts/shared', { description: 'b' }),
      patch('drafts/shared', { category: 'c' }),
    ])
    expect((await get('/v1/workflows/drafts/shared')).body).toMatchObject({
      name: 'a',
      description: 'b',
      category: 'c',
    })
  })
})

describe('versions', () => {
  it('run as they were published, and a run keeps the version that it was accepted with', async () => {
    await post('/v1/workflows', { ...echo('echo/versioned', 'old {intake.word}'), visibility: 'public' })
    const before = await fabrique.request<RunResource>('/v1/workflows/runs', {
      method: 'POST',
      body: { workflow: 'echo/versioned', input: { word: 'hi' } },
    })
    const steps = [{ id: 'say', kind: 'tool', tool: 'value.pass', args: { value: 'new {intake.word}' } }]
    expect((await patch('echo/versioned', { version: '2026.06.02', runtimeSteps: steps })).status).toBe(200)
    expect(await outputOf('echo/versioned')).toEqual({ say: { value: 'new hi' } })
    expect(await outputOf('echo/versioned', '?version=2026.06.01')).toEqual({ say: { value: 'old hi' } })
    const spec = await get<JsonObject>(`/v1/workflows/runs/${before.body.id}/specification`)
    expect(spec.body.templateVersion).toBe('2026.06.01')
    expect(JSON.stringify(spec.body.stepInstructions)).toContain('old {intake.word}')
    const unknown = await fabrique.request('/v1/workflows/runs?version=2020.01.01', {
      method: 'POST',
      body: { workflow: 'echo/versioned', input: { word: 'hi' } },
    })
    expect(unknown.status).toBe(404)
  })

  it('stay frozen even while the template is a draft again', async () => {
    await patch('echo/versioned', { visibility: 'draft' })
    const answer = await patch<ProblemBody>('echo/versioned', { budgetPolicy: 'changed' })
    expect(answer.status).toBe(409)
    expect(answer.body.code).toBe('version-immutable')
    expect((await patch('echo/versioned', { name: 'A better name' })).status).toBe(200)
  })
})

describe('pricing', () => {
  it('publishes dated versions that never change, and blocks listing what has no rate', async () => {
    const current = (await get<JsonObject & { version: string; rates: JsonObject[] }>('/v1/pricing')).body
    expect(current.rates.every((rate) => rate.source !== undefined || rate.assumed === true)).toBe(true)
    expect((await post('/v1/pricing', current)).status).toBe(409)
    const without = {
      ...current,
      version: '2026.11.22',
      rates: current.rates.filter(({ model }) => model !== 'fal/birefnet-light'),
    }
    expect((await post('/v1/pricing', without)).status).toBe(201)
    const refused = await post<ProblemBody>('/v1/workflows', {
      ...clipArt,
      id: 'clip-art-unpriced',
      visibility: 'internal',
    })
    expect(refused.body.errors).toMatchObject([
      { guard: 'estimability', code: 'unknown-rate', pointer: '/runtimeSteps/1' },
    ])
    const free = { model: 'fal/birefnet-light', unit: 'request', unit_price_usd: 0, assumed: true }
    expect(
      (await post('/v1/pricing', { ...without, version: '2026.11.23', rates: [...without.rates, free] })).status,
    ).toBe(201)
    const listed = await post('/v1/workflows', { ...clipArt, id: 'clip-art-free', visibility: 'internal' })
    expect(listed.status, listed.text).toBe(201)
    expect((await post('/v1/pricing', { ...without, version: 'soon' })).status).toBe(422)
    const bound = { ...free, when: { weather: 'fine' } }
    const { body } = await post<ProblemBody>('/v1/pricing', { ...without, version: '2026.11.24', rates: [bound] })
    expect(body).toMatchObject({ status: 422, errors: [{ pointer: '/rates/0/when/weather' }] })
    expect(body.errors?.[0]?.detail).toContain('service_tier, prompt_tokens')
    const model = { model: 'acme/one', capability: 'text', assumed: true, parameters: { type: 'objekt' } }
    const unusable = await post<ProblemBody>('/v1/pricing', { ...without, version: '2026.11.24', models: [model] })
    expect(unusable.body).toMatchObject({ status: 422, errors: [{ pointer: '/models/0/parameters/type' }] })
  })
})

describe('what would be paid for in vain', () => {
  it('is refused, and what may be meant is warned of', async () => {
    const [render, cutout, ...rest] = clipArt.runtimeSteps as JsonObject[]
    const again = { ...render, retry: { on: ['bad_output'] } }
    const blind = { ...clipArt, id: 'clip-art-blind', visibility: 'internal', runtimeSteps: [again, cutout, ...rest] }
    const saved = await post<JsonObject>('/v1/workflows', blind)
    expect(saved.body, saved.text).toMatchObject({
      problems: [],
      warnings: [{ code: 'blind-retry', pointer: '/runtimeSteps/0/retry/on' }],
    })
    const typo = { ...cutout, args: { imge: '{steps.render.output.artifact}' } }
    const refused = await post<ProblemBody>('/v1/workflows', {
      ...clipArt,
      id: 'clip-art-typo',
      visibility: 'internal',
      runtimeSteps: [render, typo, ...rest],
    })
    expect(refused.body).toMatchObject({ status: 422, code: 'not-publishable' })
    expect(refused.body.errors).toMatchObject([
      {
        code: 'unknown-tool-argument',
        pointer: '/runtimeSteps/1/args/imge',
        detail: '"fal/birefnet-light" takes no "imge"; did you mean "image"?',
      },
    ])
  })
})

describe('models that end', () => {
  const ending = (days: number) => new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10)
  const rates = ['soon', 'late', 'gone'].flatMap((name) =>
    ['input_token', 'output_token'].map((unit) => ({
      model: `openai/${name}`,
      unit,
      unit_price_usd: 0,
      assumed: true,
    })),
  )
  const row = (name: string, days: number) => ({
    model: `openai/${name}`,
    capability: 'text',
    until: ending(days),
    successor: 'openai/next',
    assumed: true,
  })
  const writing = (id: string, model: string) => ({
    ...clipArt,
    id,
    runtimeSteps: [{ id: 'tell', kind: 'llm', model, promptTemplate: 'Tell of {intake.prompt}.' }],
    artifactSchema: { artifactType: 'text', files: [], metadata: {} },
    outputAliases: {},
    gates: [],
    visibility: 'internal',
  })

  it('are warned of from sixty days before, and neither listed nor run once they have ended', async () => {
    const current = (await get<JsonObject & { rates: JsonObject[]; models: JsonObject[] }>('/v1/pricing')).body
    const publish = async (version: string, models: JsonObject[]) =>
      (await post('/v1/pricing', { ...current, version, rates: [...current.rates, ...rates], models })).status
    expect(await publish('2026.12.01', [row('soon', 60), row('late', 61), row('gone', 0)])).toBe(201)
    const warning = (name: string, days: number, code = 'model-ending') => ({
      pointer: '/runtimeSteps/0/model',
      code,
      detail: `"openai/${name}" ${code === 'model-ending' ? 'ends' : 'ended'} on ${ending(days)}; its successor is "openai/next"`,
    })
    const saved = await post<JsonObject>('/v1/workflows', writing('models/soon', 'openai/soon'))
    expect(saved.body, saved.text).toMatchObject({ problems: [], warnings: [warning('soon', 60)] })
    expect((await post<JsonObject>('/v1/workflows', writing('models/late', 'openai/late'))).body.warnings).toEqual([])
    expect((await post('/v1/workflows', writing('models/gone', 'openai/gone'))).status).toBe(201)

    expect(await publish('2026.12.02', [row('soon', 30), row('gone', -1)])).toBe(201)
    const { data } = (await get<{ data: JsonObject[] }>('/v1/workflows')).body
    const warnings = Object.fromEntries(data.map((one) => [one.id, one.warnings]))
    expect(warnings).toMatchObject({
      'models/soon': [warning('soon', 30)],
      'models/late': [],
      'models/gone': [warning('gone', -1, 'model-retired')],
    })
    expect((await get<JsonObject>('/v1/workflows/models/soon')).body.warnings).toEqual(warnings['models/soon'])
    const metrics = await get('/metrics')
    expect(metrics.text).toContain('fabrique_model_days_left{workflow="models/soon",model="openai/soon"} 30')
    expect(metrics.text).toContain('fabrique_model_days_left{workflow="models/gone",model="openai/gone"} -1')

    const refusal = { status: 422, code: 'model-retired' }
    const listing = await post<ProblemBody>('/v1/workflows', writing('models/too-late', 'openai/gone'))
    expect(listing.body).toMatchObject({
      ...refusal,
      errors: [{ ...warning('gone', -1, 'model-retired'), guard: 'executability' }],
    })
    const run = await post<ProblemBody>('/v1/workflows/runs', { workflow: 'models/gone', input: { prompt: 'a fox' } })
    expect(run.body).toMatchObject(refusal)
    expect(run.body.detail).toContain('its successor is "openai/next"')
    expect((await post('/v1/workflows/runs', { workflow: 'models/soon', input: { prompt: 'a fox' } })).status).toBe(202)
  })
})

describe('the prompt back-test', () => {
  it('says how many real prompts a draft changes, and how many fall to a default', async () => {
    const id = 'clip-art-backtested'
    expect((await post('/v1/workflows', { ...clipArt, id, visibility: 'internal' })).status).toBe(201)
    for (const [prompt, style] of [
      ['a fox', 'flat'],
      ['an owl', 'doodle'],
      ['a whale', 'baroque'],
    ]) {
      await fabrique.submit({ workflow: id, input: { prompt, style } })
    }
    const same = await post<JsonObject>(`/v1/workflows/backtest?name=${id}`, {})
    expect(same.body).toMatchObject({ workflow: id, compared: 3, changed: 0, fell_to_default: 1 })

    const steps = structuredClone(clipArt.runtimeSteps) as JsonObject[]
    const [render = {}] = steps
    const lookup = (render.lookups as { styleDescriptor: { map: JsonObject } }).styleDescriptor
    lookup.map = { flat: lookup.map.flat as string, baroque: 'baroque, gilded, ornate' }
    const report = await post<{
      compared: number
      changed: number
      fell_to_default: number
      runs: { differences: { step: string; before: string; after: string }[] }[]
    }>(`/v1/workflows/backtest?name=${id}`, { runtimeSteps: steps })
    expect(report.body).toMatchObject({ compared: 3, changed: 2, fell_to_default: 1 })
    const [whale] = report.body.runs
    expect(whale?.differences[0]).toMatchObject({ step: 'render', field: 'promptTemplate' })
    expect(whale?.differences[0]?.after).toContain('baroque, gilded, ornate')
    expect((await post(`/v1/workflows/backtest?name=${id}&limit=501`, {})).status).toBe(400)
  })
})

describe('schemas and scaffolds', () => {
  it('are published, and a scaffold is a valid run-spec in each format', async () => {
    for (const name of ['workflow-schema-v1', 'run-spec', 'workflow-set']) {
      const schema = await get<JsonObject>(`/v1/schemas/${name}.json`, null)
      expect(schema.status, name).toBe(200)
      expect(schema.body.$schema).toBe('https://json-schema.org/draft/2020-12/schema')
    }
    expect((await get('/v1/schemas/nothing.json', null)).status).toBe(404)
    for (const format of ['yaml', 'toml', 'json'] as const) {
      const scaffold = await fabrique.request(
        `/v1/workflows/scaffold?name=generate-clip-art-asset&format=${format}&show_output=true`,
      )
      expect(scaffold.headers.get('content-type')).toContain(format)
      const outcome = parseDocument(scaffold.text, format)
      expect(outcome.ok, scaffold.text).toBe(true)
      const submitted = await fabrique.request('/v1/workflows/runs?dry_run=true', {
        method: 'POST',
        headers: { 'content-type': `application/${format}` },
        body: scaffold.text,
      })
      expect(submitted.status, submitted.text).toBe(200)
    }
    const schema = await get<{ properties: JsonObject }>('/v1/workflows/schema?name=generate-clip-art-asset&side=input')
    expect(Object.keys(schema.body.properties)).toEqual(
      expect.arrayContaining(['prompt', 'style', 'variants', 'regenerate']),
    )
    expect((await get('/v1/workflows/schema?name=generate-clip-art-asset&side=both')).status).toBe(400)
  })
})
