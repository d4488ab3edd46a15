// The description of the API, made from the route table: what is not in the table is not in the description.
import { z } from 'zod'
import type { Route } from './route.ts'

const DOCUMENT_TYPES = ['application/json', 'application/yaml', 'application/toml'] as const

const PROBLEM = {
  type: 'object',
  properties: {
    type: { type: 'string' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    code: { type: 'string' },
    request_id: { type: 'string' },
    errors: {
      type: 'array',
      items: {
        type: 'object',
        properties: {
          pointer: { type: 'string' },
          detail: { type: 'string' },
          line: { type: 'integer' },
          column: { type: 'integer' },
        },
      },
    },
  },
}

function jsonSchema(schema: z.ZodType | Record<string, unknown>): Record<string, unknown> {
  if (!(schema instanceof z.ZodType)) return schema
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as Record<
    string,
    unknown
  >
  return rest
}

/** OpenAPI 3.1 for these routes. */
export function openApiDocument(routes: readonly Route[]): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {}
  for (const route of routes) {
    const parameters = [
      ...[...route.path.matchAll(/:([a-z_]+)(\{[^}]*\})?/g)].map(([, name]) => ({
        name,
        in: 'path',
        required: true,
        schema: { type: 'string' },
      })),
      ...Object.entries(jsonSchema(route.query).properties ?? {}).map(([name, schema]) => ({
        name,
        in: 'query',
        schema,
      })),
    ]
    const { body, bodyTypes = DOCUMENT_TYPES } = route.docs
    const responses = Object.fromEntries(
      Object.entries(route.docs.answers).map(([status, description]) => [status, { description }]),
    )
    const path = route.path.replace(/:([a-z_]+)(\{[^}]*\})?/g, '{$1}')
    paths[path] = {
      ...paths[path],
      [route.method]: {
        summary: route.docs.summary,
        tags: [route.docs.tag],
        ...(parameters.length === 0 ? {} : { parameters }),
        ...(body === undefined
          ? {}
          : {
              requestBody: {
                required: true,
                content: Object.fromEntries(bodyTypes.map((type) => [type, { schema: jsonSchema(body) }])),
              },
            }),
        responses: {
          ...responses,
          default: {
            description: 'A problem (RFC 9457).',
            content: { 'application/problem+json': { schema: PROBLEM } },
          },
        },
        security: route.access === 'public' ? [] : [{ key: [] }],
        'x-access': route.access,
      },
    }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Fabrique',
      version: '1',
      description: 'A factory for AI artifacts. Run-specs go in as JSON, YAML or TOML; events and artifacts come out.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    paths,
    components: { securitySchemes: { key: { type: 'http', scheme: 'bearer', description: 'An API key, fab_…' } } },
  }
}
