// Workflow templates: authored by admins, picked by operators, shown to everybody in the public catalog.
// Hides which part of a template each of them may see.
import type { Saved, StoredTemplate } from '@fabrique/engine'
import { backtest, draftSteps, mergePatch } from '@fabrique/engine'
import {
  BacktestReport,
  CatalogEntry,
  FabriqueError,
  isJsonObject,
  objectOf,
  type JsonObject,
  JsonRecord,
  type JsonValue,
  list,
  normalizeTemplate,
  PublishedVersion,
  publishedSchema,
  SavedWorkflow,
  scaffoldOf,
  scaffoldRunSpec,
  TemplateVersion,
  textOf,
  workflowInputSchema,
  WorkflowId,
  WorkflowResource,
} from '@fabrique/schema'
import { z } from 'zod'
import type { AppDeps } from '../deps.ts'
import { locatedIn, readDocument } from '../body.ts'
import { notFound, orNotFound } from '../found.ts'
import { admin, anyone, type Call, operator, type Route } from '../route.ts'

const ENGINE_OWNER = 'system'
const MEDIA_TYPES = { yaml: 'application/yaml', toml: 'application/toml', json: 'application/json' } as const
const Text = z.string()
const Flag = z.enum(['true', 'false'])

/** A template in its own spelling. Operators see of a step what it is, never what it says. */
function templateResource(
  template: Pick<StoredTemplate, 'id' | 'document' | 'visibility' | 'owner'>,
  admin: boolean,
): WorkflowResource {
  const { id, document, visibility, owner } = template
  const steps = document.runtimeSteps
  const shown: JsonObject = admin || !Array.isArray(steps) ? {} : { runtimeSteps: steps.map(outline) }
  return { ...document, ...shown, id, visibility, owner }
}

function outline(step: JsonValue): JsonValue {
  if (!isJsonObject(step)) return {}
  return Object.fromEntries(
    ['id', 'kind', 'name'].flatMap((key) => (step[key] === undefined ? [] : [[key, step[key]]])),
  )
}

export function workflowRoutes({
  authoring,
  catalog,
  reader,
  templates,
}: Pick<AppDeps, 'authoring' | 'catalog' | 'reader' | 'templates'>): Route[] {
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

  /** The templates, each with the models in it that end soon or have ended. */
  async function warned(found: StoredTemplate[], admin: boolean): Promise<WorkflowResource[]> {
    const ends = await authoring.modelEnds()
    return found.map((one) => {
      const warnings = ends(one.document).map(({ problem }) => problem)
      return { ...templateResource(one, admin), warnings }
    })
  }

  function saved(c: Call<never>['c'], { template, ...found }: Saved, status: 200 | 201): Response {
    const body = { ...templateResource(template, true), ...found }
    return c.json(body, status, { etag: etagOf(template), location: `/v1/workflows/${template.id}` })
  }

  return [
    operator.get('listWorkflows', '/v1/workflows', {
      summary: 'List workflows; for admins drafts too',
      answers: { 200: list(WorkflowResource) },
      async handle({ c, principal }) {
        const isAdmin = principal.role === 'admin'
        return c.json({ data: await warned(await templates.list({ drafts: isAdmin }), isAdmin) })
      },
    }),
    admin.post('createWorkflow', '/v1/workflows', {
      summary: 'Create a workflow: a draft, unless it names a listed rung',
      body: publishedSchema('workflow-schema-v1'),
      answers: { 201: SavedWorkflow },
      problems: ['already-exists', 'not-publishable', 'model-retired'],
      headers: ['Location', 'ETag'],
      async handle({ c }) {
        const document = await readDocument(c)
        // Admin-published templates are system-owned, whichever organization the admin's key belongs to.
        const result = await authoring.create(ENGINE_OWNER, document.value).catch(locatedIn(document))
        return saved(c, result, 201)
      },
    }),
    operator.get('listWorkflowVersions', '/v1/workflows/versions', {
      query: z.strictObject({ name: WorkflowId }),
      summary: 'The published versions of a workflow, newest first',
      answers: { 200: list(PublishedVersion) },
      problems: ['not-found'],
      async handle({ c, principal, query }) {
        const template = await visible(query.name, principal.role === 'admin')
        const versions = await templates.versions(template.id)
        const data = versions.map(
          ({ version, publishedAt, definitionHash }): PublishedVersion => ({
            version,
            published_at: publishedAt,
            definition_sha256: definitionHash,
            current: version === template.document.version,
          }),
        )
        return c.json({ data })
      },
    }),
    operator.get('getWorkflowSchema', '/v1/workflows/schema', {
      query: z.strictObject({ name: WorkflowId, side: z.enum(['input', 'output']).default('input') }),
      summary: "A workflow's input or output as JSON Schema",
      answers: { 200: JsonRecord },
      problems: ['not-found'],
      async handle({ c, principal, query }) {
        const { document } = await visible(query.name, principal.role === 'admin')
        return c.json(
          query.side === 'input' ? workflowInputSchema(objectOr(document.intakeSchema)) : outputSchema(document),
        )
      },
    }),
    operator.get('scaffoldRunSpec', '/v1/workflows/scaffold', {
      query: z.strictObject({
        name: WorkflowId,
        format: z.enum(['yaml', 'toml', 'json']).default('yaml'),
        optional: Flag.default('true'),
        show_output: Flag.default('false'),
      }),
      summary: 'A run-spec to fill in',
      answers: { 200: { 'application/yaml': Text, 'application/toml': Text, 'application/json': JsonRecord } },
      problems: ['not-found'],
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
    admin.post('backtestWorkflow', '/v1/workflows/backtest', {
      query: z.strictObject({ name: WorkflowId, limit: z.coerce.number().int().min(1).max(500).default(100) }),
      summary: 'What a draft definition would make of the last real intakes; calls no provider',
      body: JsonRecord.describe('The draft definition, whole or as a merge-patch on the current one.'),
      answers: { 200: BacktestReport },
      problems: ['not-found'],
      async handle({ c, principal, query }) {
        const template = await visible(query.name, true)
        const { value } = await readDocument(c)
        if (!isJsonObject(value)) throw new FabriqueError('validation-failed', 'A draft definition is an object.')
        const draft = normalizeTemplate(objectOr(mergePatch(template.document, value)))
        const runs = await reader.backtestRuns(principal.organizationId, template.id, query.limit)
        const report: BacktestReport = { workflow: template.id, ...backtest(draftSteps(draft), runs, catalog) }
        return c.json(report)
      },
    }),
    anyone.get('getSchema', '/v1/schemas/:file', {
      summary: 'A published JSON Schema: workflow-schema-v1, run-spec or workflow-set',
      answers: { 200: { 'application/schema+json': JsonRecord } },
      headers: ['Cache-Control'],
      handle({ c, param }) {
        const schema = publishedSchema(/^([a-z0-9-]+)\.json$/.exec(param('file'))?.[1] ?? '')
        if (schema === undefined) throw notFound('schema')
        return c.json(schema, 200, {
          'content-type': 'application/schema+json',
          'cache-control': 'public, max-age=300',
        })
      },
    }),
    anyone.get('listCatalog', '/v1/catalog', {
      summary: 'The public catalog',
      answers: { 200: list(CatalogEntry) },
      problems: ['unavailable'],
      async handle({ c }) {
        const listed = await templates.list({ drafts: false })
        return c.json({ data: listed.filter(isPublic).map((one) => templateResource(one, false)) })
      },
    }),
    anyone.get('getCatalogEntry', '/v1/catalog/:id{.+}', {
      summary: 'A public workflow',
      answers: { 200: CatalogEntry },
      problems: ['unavailable'],
      handle: async ({ c, param }) => c.json(templateResource(await catalogued(param('id')), false)),
    }),
    operator.get('getWorkflow', '/v1/workflows/:id{.+}', {
      query: z.strictObject({ version: TemplateVersion.optional() }),
      summary: 'A workflow, as it is now or in a published version; its ETag guards a change',
      answers: { 200: WorkflowResource },
      headers: ['ETag'],
      async handle({ c, principal, query, param }) {
        const isAdmin = principal.role === 'admin'
        const template = await visible(param('id'), isAdmin)
        if (query.version === undefined || query.version === template.document.version) {
          const [shown] = await warned([template], isAdmin)
          return c.json(shown, 200, { etag: etagOf(template) })
        }
        const document = orNotFound(await templates.version(template.id, query.version), 'workflow')
        const [shown] = await warned([{ ...template, document }], isAdmin)
        return c.json(shown)
      },
    }),
    admin.patch('changeWorkflow', '/v1/workflows/:id{.+}', {
      summary: 'Change a workflow by JSON merge-patch (RFC 7396); `visibility` promotes and demotes',
      body: JsonRecord.describe('What changes; null removes a field.'),
      answers: { 200: SavedWorkflow },
      problems: [
        'id-immutable',
        'version-immutable',
        'workflow-in-use',
        'version-conflict',
        'not-publishable',
        'model-retired',
      ],
      headers: ['If-Match', 'ETag', 'Location'],
      async handle({ c, param }) {
        const id = param('id')
        if ((await templates.get(id)) === null) throw notFound('workflow')
        const ifMatch = revisionOf(c.req.header('if-match'))
        const document = await readDocument(c)
        const result = await authoring.patch(id, document.value, ifMatch).catch(locatedIn(document))
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
  return objectOf(value)
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
