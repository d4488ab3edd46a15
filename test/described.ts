// Answers held against the description that the API gives of itself: status, media type, headers and body.
// Hides how a schema is found in the description; what was not described is a fault, and so is what is not as described.
import { Ajv2020 } from 'ajv/dist/2020.js'
import { fullFormats } from 'ajv-formats/dist/formats.js'
import { EventSourceParserStream } from 'eventsource-parser/stream'

interface Described {
  headers?: Record<string, unknown>
  content?: Record<string, { schema: object }>
}

export interface Operation {
  id: string
  method: string
  path: string
  access: 'public' | 'operator' | 'admin'
  query: { name: string; required: boolean }[]
  bodyTypes: string[]
  responses: Record<string, Described | { $ref: string }>
}

interface RawOperation {
  operationId: string
  'x-access': Operation['access']
  parameters: { in?: string; name: string; required: boolean }[]
  requestBody?: { content: Record<string, unknown> }
  responses: Operation['responses']
}

export interface Description {
  operations: Operation[]
  /** What differs between an answer and its description, as lines. The body is read to its end, or to `framesMax` events. */
  faultsOf(operation: Operation, answer: Response, framesMax?: number): Promise<string[]>
  /** What is wrong with the body of a webhook. */
  webhookFaults(body: unknown): string[]
  /** What is wrong with the examples of the description. */
  exampleFaults(): string[]
}

/** Of every HTTP answer; no description names them. */
const TRANSPORT =
  /^(content-type|content-length|date|connection|keep-alive|transfer-encoding|vary|last-modified|x-accel-buffering|x-content-type-options|content-security-policy)$/

/** Reads a description, the parsed `/openapi.json`. */
export function readDescription(document: Record<string, unknown>): Description {
  const ajv = new Ajv2020({ strict: false, allErrors: true, formats: fullFormats })
  ajv.addSchema(document, 'api', undefined, false)
  const paths = document.paths as Record<string, Record<string, RawOperation>>
  const components = document.components as { responses: Record<string, Described>; schemas: Record<string, object> }

  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, raw]) => ({
      id: raw.operationId,
      method: method.toUpperCase(),
      path,
      access: raw['x-access'],
      query: raw.parameters.filter((parameter) => parameter.in === 'query'),
      bodyTypes: Object.keys(raw.requestBody?.content ?? {}),
      responses: raw.responses,
    })),
  )

  function differences(schema: object, value: unknown): string[] {
    // References are into the whole description.
    const whole = JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"api#/')) as object
    const validate = ajv.compile(whole)
    if (validate(value)) return []
    return (validate.errors ?? []).map(
      ({ instancePath, message, params }) => `${instancePath} ${message} ${JSON.stringify(params)}`,
    )
  }

  function schemaFaults(schema: object, values: unknown[]): string[] {
    return values.flatMap((value) => {
      const found = differences(schema, value)
      return found.length === 0 ? [] : [...found.slice(0, 12), JSON.stringify(value).slice(0, 400)]
    })
  }

  return {
    operations,
    async faultsOf({ responses }, answer, framesMax = Infinity) {
      const found = responses[answer.status]
      if (found === undefined) return [`${answer.status} is not described: ${(await answer.text()).slice(0, 300)}`]
      const described = '$ref' in found ? components.responses[found.$ref.split('/').at(-1) ?? ''] : found
      const names = Object.keys(described?.headers ?? {}).map((name) => name.toLowerCase())
      const undescribed = [...answer.headers.keys()].filter((name) => !TRANSPORT.test(name) && !names.includes(name))
      const faults = undescribed.map((name) => `the header ${name} is not described`)
      if (!answer.headers.has('x-request-id')) faults.push('the answer has no X-Request-Id')
      const [type = ''] = (answer.headers.get('content-type') ?? '').split(';')
      const content = described?.content ?? {}
      const media = content[type] ?? content['*/*']
      if (media === undefined) {
        if ((await answer.text()) !== '') faults.push(`a body of type ${type} is not described`)
        return faults
      }
      return [...faults, ...schemaFaults(media.schema, await valuesOf(answer, type, framesMax))]
    },
    webhookFaults(body) {
      const webhooks = document.webhooks as Record<string, { post: { requestBody: Described } }>
      const described = webhooks[(body as { type: string }).type]?.post.requestBody.content?.['application/json']
      return described === undefined ? ['is not described'] : schemaFaults(described.schema, [body])
    },
    exampleFaults() {
      return Object.entries(components.schemas).flatMap(([name, schema]) =>
        schemaFaults(schema, 'examples' in schema ? (schema.examples as unknown[]) : []).map(
          (one) => `${name}: ${one}`,
        ),
      )
    },
  }
}

/** The values that the schema of a media type is about: the document, each line, or each event. */
async function valuesOf(answer: Response, type: string, framesMax: number): Promise<unknown[]> {
  if (type === 'text/event-stream') {
    const events = (answer.body ?? new ReadableStream())
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(new EventSourceParserStream())
    const values: unknown[] = []
    for await (const { data } of events) if (values.push(JSON.parse(data)) >= framesMax) break
    return values
  }
  const text = await answer.text()
  if (type === 'application/x-ndjson') {
    const lines = text.trimEnd().split('\n')
    return lines.map((line): unknown => JSON.parse(line))
  }
  return [type.includes('json') ? JSON.parse(text) : text]
}
