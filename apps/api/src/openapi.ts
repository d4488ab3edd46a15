// The description of the API, made from the route table: what is not in the table is not in the description.
// Hides which problems and headers a row implies, and how schemas become components.
import {
  ERROR_CODES,
  type ErrorCode,
  errorRow,
  EVENT_KINDS,
  ProblemDocument,
  textOf,
  webhookMessage,
} from '@fabrique/schema'
import { z } from 'zod'
import { ANSWER_HEADERS, type HeaderName, REQUEST_HEADERS, WEBHOOK_HEADERS } from './header-words.ts'
import EXAMPLES from './openapi-examples.json' with { type: 'json' }
import type { Answer, Route } from './route.ts'

/** What routes are grouped by: the first whose `at` fits the path. */
const TAGS = [
  {
    name: 'runs',
    at: /^\/v1\/(workflows\/runs?|events|reviews)\b/,
    description: 'Submitting, following and steering runs.',
  },
  { name: 'workflows', at: /^\/v1\/(workflows|catalog|schemas)\b/, description: 'Templates, and the public catalog.' },
  { name: 'artifacts', at: /^\/v1\/artifacts\b/, description: 'What runs have made.' },
  { name: 'schedules', at: /^\/v1\/schedules\b/, description: 'Run-specs that are submitted again and again.' },
  { name: 'webhooks', at: /^\/v1\/webhooks\b/, description: 'Where events are sent.' },
  { name: 'pricing', at: /^\/v1\/pricing\b/, description: 'What calls of providers cost.' },
  {
    name: 'accounts',
    at: /^\/(v1\/(organizations|api-keys|tokens)|session)\b/,
    description: 'Organizations, their keys and tokens, and sessions of the operator app.',
  },
  { name: 'operations', at: /^\//, description: 'Health, figures for dashboards, and this description.' },
]

const DOCUMENT_TYPES = ['application/json', 'application/yaml', 'application/toml'] as const
const PATH_PARAMETER = /:([a-z_]+)(?:\{([^}]*)\})?/g
/** Where zod puts what has an id, and where OpenAPI looks for it. */
const [DEFS, COMPONENTS] = ['"#/$defs/', '"#/components/schemas/']

type Json = Record<string, unknown>

/** OpenAPI 3.1 for these routes. Takes some 100 ms. */
export function openApiDocument(routes: readonly Route[]): Json {
  const components: Record<string, Json> = {}

  function schemaOf(schema: z.ZodType, io: 'input' | 'output'): Json {
    const wrapped = z.toJSONSchema(z.object({ schema }), {
      io,
      unrepresentable: 'any',
      override({ jsonSchema }) {
        if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum
        if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum
        if (jsonSchema.format === 'date-time') delete jsonSchema.pattern
      },
    })
    for (const [id, found] of Object.entries(wrapped.$defs ?? {})) components[id] = found
    return wrapped.properties?.schema as Json
  }

  function bodySchema(body: NonNullable<Route['body']>): Json {
    if (body instanceof z.ZodType) return schemaOf(body, 'input')
    const { $schema: _schema, $id, ...schema } = body
    const name = /(?<![a-z0-9-])([a-z0-9-]+)\.json$/.exec(textOf($id))?.[1] ?? ''
    components[name] = schema
    return { $ref: `#/components/schemas/${name}` }
  }

  function contentOf(answer: Answer): Json {
    if (answer === null) return {}
    const types = answer instanceof z.ZodType ? { 'application/json': answer } : answer
    const content = Object.entries(types).map(([type, schema]) => [type, { schema: schemaOf(schema, 'output') }])
    return { content: Object.fromEntries(content) }
  }

  function operation(route: Route): Json {
    const { id, path, summary, access, body, bodyTypes = DOCUMENT_TYPES, submits, headers = [] } = route
    const names: readonly HeaderName[] = ['X-Request-Id', ...headers, ...(submits ? RATE_LIMIT : [])]
    const query = schemaOf(route.query, 'input')
    const required = (query.required ?? []) as string[]
    const answers = Object.entries(route.answers).map(([status, answer]) => [
      status,
      { description: MEANINGS[status], headers: headersOf(names), ...contentOf(answer) },
    ])
    return {
      operationId: id,
      summary,
      tags: [TAGS.find(({ at }) => at.test(path))?.name],
      parameters: [
        ...[...path.matchAll(PATH_PARAMETER)].map(([, name, pattern]) => ({
          name,
          in: 'path',
          required: true,
          schema: { type: 'string', ...(pattern === undefined ? {} : { pattern: `^(?:${pattern})$` }) },
          ...(pattern === '.+' ? { description: 'With its slash, as it is or percent-encoded.' } : {}),
        })),
        ...Object.entries((query.properties ?? {}) as Record<string, Json>).map(
          ([name, { description, ...schema }]) => ({
            name,
            in: 'query',
            required: required.includes(name),
            ...(description === undefined ? {} : { description }),
            ...(schema.type === 'object' ? { style: 'deepObject', explode: true } : {}),
            schema,
          }),
        ),
        ...names.filter((name) => name in REQUEST_HEADERS).map(parameterRef),
      ],
      ...(body === undefined
        ? {}
        : { requestBody: { required: true, content: eachOf(bodyTypes, { schema: bodySchema(body) }) } }),
      responses: { ...problemResponses(route), ...Object.fromEntries(answers) },
      security: access === 'public' ? [] : [{ key: [] }],
      'x-access': access,
    }
  }

  const paths: Record<string, Json> = {}
  for (const route of routes) {
    const path = route.path.replace(PATH_PARAMETER, '{$1}')
    paths[path] = { ...paths[path], [route.method]: operation(route) }
  }
  const webhooks = EVENT_KINDS.map((kind) => [
    kind,
    {
      post: {
        operationId: kind,
        summary: 'An event of a root run, by the headers and signature of Standard Webhooks',
        tags: ['webhooks'],
        parameters: Object.keys(WEBHOOK_HEADERS).map(parameterRef),
        requestBody: {
          required: true,
          content: { 'application/json': { schema: schemaOf(webhookMessage(kind), 'output') } },
        },
        responses: {
          '2XX': { description: 'It has arrived.' },
          410: { description: 'The webhook is disabled.' },
          default: { description: 'It is sent again, up to `max_retries` times.' },
        },
        security: [],
      },
    },
  ])
  const problem = schemaOf(ProblemDocument, 'output')
  const problems = Object.fromEntries(routes.flatMap((route) => byStatus(route).map((codes) => [nameOf(codes), codes])))
  const document = {
    openapi: '3.1.0',
    info: {
      title: 'Fabrique',
      version: '1',
      description: 'A factory for AI artifacts. Run-specs go in as JSON, YAML or TOML; events and artifacts come out.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    tags: TAGS.map(({ name, description }) => ({ name, description })),
    paths,
    webhooks: Object.fromEntries(webhooks),
    components: {
      securitySchemes: { key: { type: 'http', scheme: 'bearer', description: 'An API key, fab_…' } },
      responses: mapped(problems, (codes) => problemResponse(codes, problem)),
      parameters: mapped({ ...REQUEST_HEADERS, ...WEBHOOK_HEADERS }, (description, name) => ({
        name,
        in: 'header',
        description,
        schema: { type: 'string' },
      })),
      headers: mapped(ANSWER_HEADERS, (description) => ({ description, schema: { type: 'string' } })),
      // Last: all of them are known by now.
      schemas: mapped(components, (schema, name) =>
        name in EXAMPLES ? { ...schema, examples: [(EXAMPLES as Json)[name]] } : schema,
      ),
    },
  }
  return JSON.parse(JSON.stringify(document).replaceAll(DEFS, COMPONENTS)) as Json
}

/** Of all answers to submits, those that refuse them too. */
const RATE_LIMIT: readonly HeaderName[] = ['RateLimit', 'RateLimit-Policy']

const MEANINGS: Record<string, string> = {
  200: 'What was asked for.',
  201: 'It was made.',
  202: 'It was accepted.',
  204: 'There is nothing more to say.',
  206: 'A part of it.',
  304: 'As the client has it.',
  416: 'There is no such range.',
  503: 'Not at the moment.',
}

/** What can go wrong on a route: by its access, its path, its document, and what it names itself. */
function problemsOf({ access, path, body, bodyTypes, submits, problems = [] }: Route): ErrorCode[] {
  const found = new Set<ErrorCode>(['bad-query', 'bad-header', 'internal', ...problems])
  if (submits) found.add('quota-exceeded')
  if (access !== 'public') found.add('unauthenticated').add('unavailable')
  if (access === 'admin') found.add('forbidden')
  if (path.includes(':')) found.add('not-found')
  if (body !== undefined) found.add('unsupported-media-type')
  if (body !== undefined && bodyTypes === undefined)
    found.add('malformed-body').add('body-too-large').add('validation-failed')
  return ERROR_CODES.filter((code) => found.has(code))
}

function byStatus(route: Route): ErrorCode[][] {
  return [...Map.groupBy(problemsOf(route), (code) => errorRow(code).status).values()]
}

function problemResponses(route: Route): Json {
  return Object.fromEntries(
    byStatus(route).map((codes) => [statusOf(codes), { $ref: `#/components/responses/${nameOf(codes)}` }]),
  )
}

const nameOf = (codes: readonly ErrorCode[]): string => codes.join('.')
const statusOf = ([code = 'internal']: readonly ErrorCode[]): number => errorRow(code).status

function problemResponse(codes: readonly ErrorCode[], schema: Json): Json {
  const status = statusOf(codes)
  const headers: HeaderName[] = ['X-Request-Id']
  if (status === 401) headers.push('WWW-Authenticate')
  if (codes.some((code) => errorRow(code).retry)) headers.push('Retry-After')
  if (status !== 401) headers.push(...RATE_LIMIT)
  return {
    description: codes.map((code) => `\`${code}\`: ${errorRow(code).title}.`).join(' '),
    headers: headersOf(headers),
    content: {
      'application/problem+json': {
        schema: { ...schema, properties: { status: { const: status }, code: { enum: codes } } },
      },
    },
  }
}

const parameterRef = (name: string): Json => ({ $ref: `#/components/parameters/${name}` })

function headersOf(names: readonly HeaderName[]): Json {
  const shown = names.filter((name) => name in ANSWER_HEADERS)
  return Object.fromEntries(shown.map((name) => [name, { $ref: `#/components/headers/${name}` }]))
}

function eachOf(names: readonly string[], value: unknown): Json {
  return Object.fromEntries(names.map((name) => [name, value]))
}

function mapped<Value>(of: Record<string, Value>, make: (value: Value, name: string) => unknown): Json {
  return Object.fromEntries(Object.entries(of).map(([name, value]) => [name, make(value, name)]))
}
