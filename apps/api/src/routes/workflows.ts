// Workflow templates: authored by admins, picked by operators, shown to everybody in the public catalog.
// Hides which part of a template each of them may see.
import type { Saved, StoredTemplate } from '@fabrique/engine'
import { backtest, draftSteps, mergePatch } from '@fabrique/engine'
import {
  FabriqueError,
  isJsonObject,
  type JsonObject,
  type JsonValue,
  normalizeTemplate,
  publishedSchema,
  scaffoldOf,
  scaffoldRunSpec,
  TemplateVersion,
  textOf,
  workflowInputSchema,
  WorkflowId,
} from '@fabrique/schema'
import { z } from 'zod'
import type { AppDeps } from '../deps.ts'
import { located, readDocument } from '../body.ts'
import { notFound } from '../errors.ts'
import { type Call, defineRoute, type Route } from '../route.ts'

const ENGINE_OWNER = 'system'
const MEDIA_TYPES = { yaml: 'application/yaml', toml: 'application/toml', json: 'application/json' } as const
const Flag = z.enum(['true', 'false'])

/** A template in its own spelling. Operators see of a step what it is, never what it says. */
function templateResource(
  template: Pick<StoredTemplate, 'document' | 'visibility' | 'owner'>,
  admin: boolean,
): JsonObject {
  const { document } = template
  const steps = document.runtimeSteps
  const shown: JsonObject = admin || !Array.isArray(steps) ? {} : { runtimeSteps: steps.map(outline) }
  return { ...document, ...shown, visibility: template.visibility, owner: template.owner }
}

function outline(step: JsonValue): JsonValue {
  if (!isJsonObject(step)) return {}
  return Object.fromEntries(
    ['id', 'kind', 'name'].flatMap((key) => (step[key] === undefined ? [] : [[key, step[key]]])),
  )
}

export function workflowRoutes({
  authoring,
  backtestRuns,
  catalog,
  templates,
}: Pick<AppDeps, 'authoring' | 'backtestRuns' | 'catalog' | 'templates'>): Route[] {
  const tag = 'workflows'

  /** The template that this key may see, or a 404 that does not say why. */
  async function visible(id: string, admin: boolean): Promise<StoredTemplate> {
    const found = await templates.get(id)
    if (found === null || (found.visibility === 'draft' && !admin)) throw notFound('workflow')
    return found
  }

  async function catalogued(id: string): Promise<StoredTemplate> {
    const found = await templates.get(id)
    if (found === null || !isPublic(found)) throw notFound('workflow')
    return found
  }

  function saved(c: Call<never>['c'], { template, problems }: Saved, status: 200 | 201): Response {
    const body = { ...templateResource(template, true), problems }
    return c.json(body, status, { etag: etagOf(template), location: `/v1/workflows/${template.id}` })
  }

  return [
    defineRoute({
      method: 'get',
      path: '/v1/workflows',
      access: 'operator',
      docs: { summary: 'List workflows', tag, answers: { 200: 'Listed ones; for admins drafts too.' } },
      async handle({ c, principal }) {
        const admin = principal.role === 'admin'
        return c.json({ data: (await templates.list({ drafts: admin })).map((one) => templateResource(one, admin)) })
      },
    }),
    defineRoute({
      method: 'post',
      path: '/v1/workflows',
      access: 'admin',
      docs: {
        summary: 'Create a workflow: a draft, unless it names a listed rung',
        tag,
        body: publishedSchema('workflow-schema-v1') ?? {},
        answers: { 201: 'The workflow, with what keeps it from being listed.', 409: 'The id is taken.' },
      },
      async handle({ c }) {
        const document = await readDocument(c)
        // Admin-published templates are system-owned, whichever organization the admin's key belongs to.
        const result = await authoring
          .create(ENGINE_OWNER, document.value)
          .catch((error: unknown) => located(error, document))
        return saved(c, result, 201)
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/workflows/versions',
      access: 'operator',
      query: z.strictObject({ name: WorkflowId }),
      docs: { summary: 'The published versions of a workflow, newest first', tag, answers: { 200: 'The versions.' } },
      async handle({ c, principal, query }) {
        const template = await visible(query.name, principal.role === 'admin')
        const data = (await templates.versions(template.id)).map(({ version, publishedAt, definitionHash }) => ({
          version,
          published_at: publishedAt,
          definition_sha256: definitionHash,
          current: version === template.document.version,
        }))
        return c.json({ data })
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/workflows/schema',
      access: 'operator',
      query: z.strictObject({ name: WorkflowId, side: z.enum(['input', 'output']).default('input') }),
      docs: { summary: "A workflow's input or output as JSON Schema", tag, answers: { 200: 'The schema.' } },
      async handle({ c, principal, query }) {
        const { document } = await visible(query.name, principal.role === 'admin')
        return c.json(
          query.side === 'input' ? workflowInputSchema(objectOr(document.intakeSchema)) : outputSchema(document),
        )
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/workflows/scaffold',
      access: 'operator',
      query: z.strictObject({
        name: WorkflowId,
        format: z.enum(['yaml', 'toml', 'json']).default('yaml'),
        optional: Flag.default('true'),
        show_output: Flag.default('false'),
      }),
      docs: { summary: 'A run-spec to fill in', tag, answers: { 200: 'The run-spec, in the wanted format.' } },
      async handle({ c, principal, query }) {
        const { id, document } = await visible(query.name, principal.role === 'admin')
        const text = scaffoldRunSpec(scaffoldOf({ ...document, id }), {
          format: query.format,
          optional: query.optional === 'true',
          showOutput: query.show_output === 'true',
          schemaUrl: `${new URL(c.req.url).origin}/v1/schemas/run-spec.json`,
        })
        return c.body(text, 200, { 'content-type': `${MEDIA_TYPES[query.format]}; charset=utf-8` })
      },
    }),
    defineRoute({
      method: 'post',
      path: '/v1/workflows/backtest',
      access: 'admin',
      query: z.strictObject({ name: WorkflowId, limit: z.coerce.number().int().min(1).max(500).default(100) }),
      docs: {
        summary: 'What a draft definition would make of the last real intakes; calls no provider',
        tag,
        body: { type: 'object', description: 'The draft definition, whole or as a merge-patch on the current one.' },
        answers: { 200: 'How many prompts change, and how.' },
      },
      async handle({ c, principal, query }) {
        const template = await visible(query.name, true)
        const { value } = await readDocument(c)
        if (!isJsonObject(value)) throw new FabriqueError('validation-failed', 'A draft definition is an object.')
        const draft = normalizeTemplate(objectOr(mergePatch(template.document, value)))
        const runs = await backtestRuns(principal.organizationId, template.id, query.limit)
        return c.json({ workflow: template.id, ...backtest(draftSteps(draft), runs, catalog) })
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/schemas/:file',
      access: 'public',
      docs: {
        summary: 'A published JSON Schema: workflow-schema-v1, run-spec or workflow-set',
        tag,
        answers: { 200: 'The schema.' },
      },
      handle({ c, param }) {
        const schema = publishedSchema(/^([a-z0-9-]+)\.json$/.exec(param('file'))?.[1] ?? '')
        if (schema === undefined) throw notFound('schema')
        return c.json(schema, 200, {
          'content-type': 'application/schema+json',
          'cache-control': 'public, max-age=300',
        })
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/catalog',
      access: 'public',
      docs: { summary: 'The public catalog', tag, answers: { 200: 'Public workflows.' } },
      async handle({ c }) {
        const listed = await templates.list({ drafts: false })
        return c.json({ data: listed.filter(isPublic).map((one) => templateResource(one, false)) })
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/catalog/:id{.+}',
      access: 'public',
      docs: { summary: 'A public workflow', tag, answers: { 200: 'The workflow.' } },
      handle: async ({ c, param }) => c.json(templateResource(await catalogued(param('id')), false)),
    }),
    defineRoute({
      method: 'get',
      path: '/v1/workflows/:id{.+}',
      access: 'operator',
      query: z.strictObject({ version: TemplateVersion.optional() }),
      docs: {
        summary: 'A workflow, as it is now or in a published version',
        tag,
        answers: { 200: 'The workflow; its ETag guards a PATCH.' },
      },
      async handle({ c, principal, query, param }) {
        const admin = principal.role === 'admin'
        const template = await visible(param('id'), admin)
        if (query.version === undefined || query.version === template.document.version) {
          return c.json(templateResource(template, admin), 200, { etag: etagOf(template) })
        }
        const document = await templates.version(template.id, query.version)
        if (document === null) throw notFound('workflow')
        return c.json(templateResource({ ...template, document }, admin))
      },
    }),
    defineRoute({
      method: 'patch',
      path: '/v1/workflows/:id{.+}',
      access: 'admin',
      docs: {
        summary: 'Change a workflow by JSON merge-patch; `visibility` promotes and demotes',
        tag,
        body: { type: 'object' },
        answers: {
          200: 'The workflow, with what keeps a draft from being listed.',
          409: 'The id or a published version would change, or others need it.',
          412: 'It changed since you read it.',
        },
      },
      async handle({ c, param }) {
        const id = param('id')
        if ((await templates.get(id)) === null) throw notFound('workflow')
        const ifMatch = revisionOf(c.req.header('if-match'))
        const document = await readDocument(c)
        const result = await authoring
          .patch(id, document.value, ifMatch)
          .catch((error: unknown) => located(error, document))
        return saved(c, result, 200)
      },
    }),
  ]
}

function isPublic({ visibility, owner }: StoredTemplate): boolean {
  return visibility === 'public' && owner === ENGINE_OWNER
}

function etagOf({ revision }: StoredTemplate): string {
  return `"${revision}"`
}

/** The revision in an If-Match header; null for none or `*`; one that we never gave matches nothing. */
function revisionOf(header: string | undefined): number | null {
  if (header === undefined || header.trim() === '*') return null
  const revision = /^(?:W\/)?"(\d{1,9})"$/.exec(header.trim())?.[1]
  return revision === undefined ? -1 : Number(revision)
}

function objectOr(value: JsonValue | undefined): JsonObject {
  return isJsonObject(value) ? value : {}
}

/** The run's output as a schema: one property per alias. What each holds is the step's business. */
function outputSchema(document: JsonObject): JsonObject {
  const aliases = Object.entries(objectOr(document.outputAliases))
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: `Output of ${textOf(document.id)}`,
    type: 'object',
    properties: Object.fromEntries(aliases.map(([alias, path]) => [alias, { description: textOf(path) }])),
  }
}
