// Who is let in, where to, and for how long: what the doors of a whole Fabrique refuse.
import type { ProblemDocument } from '@fabrique/schema'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Fabrique, type Operator, startFabrique } from './harness.ts'

const PIXEL = 'data:image/png;base64,YWJj'
const PICTURED = {
  id: 'pictures/described',
  name: 'Described',
  artifactClass: 'knowledge',
  version: '2026.11.01',
  schemaVersion: 'workflow-schema-v1',
  cadence: 'On demand',
  visibility: 'public',
  intakeSchema: {
    type: 'object',
    properties: { photo: { type: 'string', format: 'file' }, more: { type: 'array', items: { format: 'file' } } },
  },
  providers: {},
  runtimeSteps: [{ id: 'write', kind: 'llm', model: 'openai/gpt-6-luna', promptTemplate: 'Describe {intake.photo}.' }],
  gates: [],
  budgetPolicy: 'little',
  artifactSchema: { artifactType: 'text', files: [], metadata: {} },
}

let fabrique: Fabrique
let operator: Operator

beforeAll(async () => {
  fabrique = await startFabrique()
  operator = await fabrique.createOperator('Doors')
  const made = await fabrique.request('/v1/workflows', { body: PICTURED })
  expect(made.status, made.text).toBe(201)
}, 60_000)
afterAll(() => fabrique?.stop())

describe('a file in a request', () => {
  const submit = (input: object) =>
    fabrique.request<ProblemDocument>('/v1/workflows/runs', {
      key: operator.key,
      body: { workflow: PICTURED.id, input },
    })

  it.each(['/etc/passwd', './cat.png', 'http://169.254.169.254/', 'https://example.org/cat.png', 'file:///etc/passwd'])(
    'is its bytes: %s is refused before anybody reads it',
    async (photo) => {
      const answer = await submit({ photo, more: [PIXEL, photo] })
      expect(answer.status, answer.text).toBe(422)
      expect(answer.body.errors?.map(({ pointer }) => pointer)).toEqual(['/input/more/1', '/input/photo'])
    },
  )

  it('is taken as a data: URI', async () => {
    expect((await submit({ photo: PIXEL, more: [PIXEL] })).status).toBe(202)
  })
})
