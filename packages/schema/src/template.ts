// The workflow template as a document: the middle level between the Workflow Schema (the rules) and a run.
// Hides the shape only; what makes a template runnable is decided by the publish guards against a catalog.
import { z } from 'zod'
import { Instant, Json, type JsonObject, JsonRecord } from './json.ts'
import { Problem } from './error.ts'
import { WorkflowId } from './run-spec.ts'

export const SCHEMA_VERSIONS = ['workflow-schema-v1'] as const
export const VISIBILITIES = ['draft', 'internal', 'public'] as const
export const ARTIFACT_CLASSES = ['visual', 'video', 'research', 'knowledge'] as const
/** First parts of an id that routes need for themselves. */
export const RESERVED_ID_PARTS = ['runs', 'versions', 'schema', 'scaffold', 'backtest', 'bundle'] as const

export const ON_UNKNOWN_OUTCOME = ['retry', 'review', 'fail'] as const

export type Visibility = (typeof VISIBILITIES)[number]
export type ArtifactClass = (typeof ARTIFACT_CLASSES)[number]

const Name = z.string().regex(/^[A-Za-z_][A-Za-z0-9_-]{0,63}$/, 'must be a short name of letters, digits, - and _')
const Text = z.string().max(32_768)

/** `YYYY.MM.DD` with a real date, optionally `.N` for several versions a day. */
export const TemplateVersion = z
  .string()
  .regex(/^\d{4}\.\d{2}\.\d{2}(\.\d{1,3})?$/, 'must look like 2026.05.16, or 2026.05.16.2')
  .refine((version) => {
    const [year = 0, month = 0, day = 0] = version.split('.').map(Number)
    const date = new Date(Date.UTC(year, month - 1, day))
    return date.getUTCMonth() === month - 1 && date.getUTCDate() === day
  }, 'must be a real date')

export const Retry = z.strictObject({
  maxAttempts: z.int().min(1).max(10).default(3),
  backoffMs: z.int().min(0).max(600_000).default(1000),
  on: z.array(z.enum(['rate_limit', 'timeout', 'server', 'bad_output'])).optional(),
})
export type Retry = z.infer<typeof Retry>

export const Lookup = z.strictObject({
  from: z.string().regex(/^intake\.[A-Za-z0-9_.[\]-]+$/, 'must be a path such as intake.style'),
  map: z.record(z.string(), z.string().max(8192)),
  default: z.string().max(8192),
})
export type Lookup = z.infer<typeof Lookup>

/** What every step has, whatever its kind; the fields of a kind are the kind's own (`engine/catalog.ts`). */
export const StepCommon = z.looseObject({
  id: Name,
  kind: z.string().min(1).max(64),
  name: z.string().max(200).optional(),
  needs: z.array(Name).max(100).optional(),
  when: z.string().max(2000).optional(),
  forEach: z.union([z.string(), JsonRecord]).optional(),
  retry: Retry.optional(),
  timeoutMs: z.int().min(100).max(3_600_000).optional(),
  lookups: z.record(Name, Lookup).optional(),
})
export type Step = z.infer<typeof StepCommon>

/** The fields of a step that are its kind's own. */
export function ownFields(step: Step): JsonObject {
  return Object.fromEntries(Object.entries(step).filter(([key]) => !Object.hasOwn(StepCommon.shape, key))) as JsonObject
}

export const Gate = z.looseObject({
  id: Name,
  name: z.string().min(1).max(200),
  type: z.string().min(1).max(64),
  after: Name.optional(),
  unlocks: z.array(Name).max(100).optional(),
})
export type Gate = z.infer<typeof Gate>

export const BudgetPolicy = z.strictObject({
  maxPerRunUsd: z.number().min(0).max(1_000_000).optional(),
  maxPerDayUsd: z.number().min(0).max(10_000_000).optional(),
  description: Text.optional(),
})
export type BudgetPolicy = z.infer<typeof BudgetPolicy>

export const ArtifactSchema = z.looseObject({
  artifactType: z.string().min(1).max(128),
  files: z
    .array(
      z.strictObject({
        role: Name,
        mimeType: z.string().regex(/^[a-z]+\/[a-z0-9.+-]+$/, 'must be a media type such as image/webp'),
        codec: z.string().max(64).optional(),
        from: z.string().max(256).optional(),
      }),
    )
    .max(50),
  metadata: JsonRecord.optional(),
})
export type ArtifactSchema = z.infer<typeof ArtifactSchema>

/** The part of a template that a version freezes: everything but its name, description, category, cadence, visibility. */
export const TemplateDefinition = z.strictObject({
  artifactClass: z.enum(ARTIFACT_CLASSES),
  schemaVersion: z.enum(SCHEMA_VERSIONS),
  intakeSchema: JsonRecord,
  runtimeSteps: z.array(StepCommon).min(1).max(100),
  providers: z.record(Name, z.union([z.string().max(200), z.array(z.string().max(200)).min(1).max(8)])),
  gates: z.array(Gate).max(50),
  budgetPolicy: z.union([Text, BudgetPolicy]),
  artifactSchema: ArtifactSchema,
  outputAliases: z.record(Name, z.string().max(256)).optional(),
  onUnknownOutcome: z.enum(ON_UNKNOWN_OUTCOME).optional(),
})
export type TemplateDefinition = z.infer<typeof TemplateDefinition>

/** A complete template, as the guards demand it of a listed one. `gates` are objects here: see `normalizeTemplate`. */
export const Template = z.strictObject({
  id: WorkflowId,
  name: z.string().min(1).max(200),
  description: Text.optional(),
  category: z.string().max(100).optional(),
  cadence: z.string().min(1).max(100),
  version: TemplateVersion,
  ...TemplateDefinition.shape,
})
export type Template = z.infer<typeof Template>

/** What everybody may see of a step: what it is, never what it says. */
export const StepOutline = z.object({ id: z.string(), kind: z.string(), name: z.string().exactOptional() })
export type StepOutline = z.infer<typeof StepOutline>

const Shown = {
  visibility: z.enum(VISIBILITIES).describe('Who sees it: admins only, every key, or the public catalog too.'),
  owner: z.string().describe('The organization that it belongs to.'),
}

/** A template as the API shows it; what a draft holds besides was never checked. */
export const WorkflowResource = z
  .object({
    id: WorkflowId,
    ...Shown,
    warnings: z
      .array(Problem)
      .exactOptional()
      .describe('Models in it that end within 60 days (`model-ending`), or have ended (`model-retired`).'),
  })
  .catchall(Json)
  .meta({
    id: 'Workflow',
    description:
      'A template in its own spelling. A listed one has all that a catalog entry has, a draft what it was saved with; operators see outlines of its steps.',
  })
export type WorkflowResource = z.infer<typeof WorkflowResource>

/** What an edit of a template answers. */
export const SavedWorkflow = WorkflowResource.extend({
  problems: z.array(Problem).describe('What keeps a draft from being listed; empty for a listed workflow.'),
  warnings: z
    .array(Problem)
    .describe(
      'What will keep it from running one day, such as a model that ends soon, and what may be paid for in vain.',
    ),
}).meta({ id: 'SavedWorkflow' })

export const CatalogEntry = z
  .object({ ...Template.shape, runtimeSteps: z.array(StepOutline), ...Shown })
  .meta({ id: 'CatalogEntry', description: 'A public workflow, as everybody sees it.' })

/** A version of a template that was listed, and cannot change. */
export const PublishedVersion = z
  .object({
    version: TemplateVersion,
    published_at: Instant,
    definition_sha256: z.string().describe('Of the canonical JSON of what the version freezes.'),
    current: z.boolean().describe('Whether a run gets this version unless it names another.'),
  })
  .meta({ id: 'PublishedVersion' })
export type PublishedVersion = z.infer<typeof PublishedVersion>

const DESCRIPTIVE_KEYS = ['id', 'name', 'description', 'category', 'cadence', 'visibility', 'version', 'owner']

/** The frozen part of a template document, whatever its state; two versions differ exactly when this differs. */
export function definitionOf(document: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(document).filter(([key]) => !DESCRIPTIVE_KEYS.includes(key)))
}

/**
 * A stored draft's one spelling: gate strings become objects (`"HITL review"` → `{id: "hitl-review", name, type}`),
 * `outputShape` becomes `artifactSchema`. Anything broken is left as it is for the guards to name.
 */
export function normalizeTemplate(document: JsonObject): JsonObject {
  const { outputShape, ...rest } = document
  const normalized: JsonObject = { ...rest }
  if (outputShape !== undefined && normalized.artifactSchema === undefined) normalized.artifactSchema = outputShape
  if (Array.isArray(normalized.gates)) {
    normalized.gates = normalized.gates.map((gate) => {
      if (typeof gate !== 'string') return gate
      const id = gate
        .trim()
        .toLowerCase()
        .replace(/[^a-z0-9]+/g, '-')
      return { id, name: gate, type: id }
    })
  }
  return normalized
}
