// The run-spec: one document that fully describes one run, the same as a file, a request body and a CLI argument.
// Hides the rules of its keys; reading its bytes is `document.ts`, what `input` may hold is each workflow's own schema.
import { z } from 'zod'
import { Json, JsonRecord } from './json.ts'

export const BUNDLE_WORKFLOW = 'bundle/ad-hoc'
/** Injected by the engine for the steps; refused in a spec, and never part of `run.input`. */
export const RESERVED_INPUT_KEYS = [
  '_fabric_run_id',
  '_fabric_organization_id',
  '_fabric_variants',
  '_fabric_variant_index',
  'output_dir',
] as const

const ANNOTATION_BYTES = 16_384
const ULID_TEXT = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/

export const WorkflowId = z
  .string()
  .max(128)
  .regex(/^[a-z0-9][a-z0-9-]*(\/[a-z0-9][a-z0-9-]*)?$/, 'must be a workflow id such as category/name')

export const RunId = z.string().regex(ULID_TEXT, 'must be a run id (26 characters, a ULID)')

const Annotation = JsonRecord.refine((value) => Buffer.byteLength(JSON.stringify(value)) <= ANNOTATION_BYTES, {
  message: `must be at most ${ANNOTATION_BYTES / 1024} KiB as JSON`,
})

export const Regenerate = z.strictObject({
  direction: z.string().max(4000).optional(),
  keep: z.array(z.string().max(128)).max(100).optional(),
  extra_instructions: z.string().max(4000).optional(),
  parent_run_id: RunId.optional(),
  parent_variant_index: z.int().min(0).max(9).optional(),
})
export type Regenerate = z.infer<typeof Regenerate>

const Input = z
  .looseObject({
    variants: z.int().min(1).max(10).optional().describe('How many variants to make (1 to 10).'),
    regenerate: Regenerate.optional().describe('How this run differs from the run it regenerates.'),
  })
  .superRefine((input, context) => {
    for (const key of RESERVED_INPUT_KEYS) {
      const message = `is set by the engine; remove "${key}" from the input`
      if (Object.hasOwn(input, key)) context.addIssue({ code: 'custom', path: [key], message })
    }
  })

const BundleEntry = z.strictObject({ workflow: WorkflowId, input: Input })

export const RunSpec = z
  .strictObject({
    $schema: Json.optional().describe('For editors; ignored.'),
    workflow: WorkflowId.optional().describe('The workflow to run; over HTTP `?name=` may name it instead.'),
    input: Input.optional().describe("The workflow's own inputs, plus `variants` and `regenerate`."),
    metadata: Annotation.optional().describe('Free annotations, stored and searchable; no effect on the run.'),
    priority: z.int().min(0).max(100).default(50).describe('Higher goes first; equal: organizations take turns.'),
    state: Annotation.optional().describe('Opaque to Fabrique; comes back unchanged in terminal events.'),
    fail_fast: z.boolean().default(true).describe('Whether the first failure cancels the rest of the run.'),
    bundle: z.array(BundleEntry).min(1).max(100).optional().describe('Several workflows at once, for bundle/ad-hoc.'),
    parent: z
      .strictObject({ run_id: RunId, variant_index: z.int().min(0).max(99).optional() })
      .optional()
      .describe('Marks this run as a regeneration of an earlier one.'),
  })
  .superRefine((spec, context) => {
    const problem = (path: (string | number)[], message: string) => context.addIssue({ code: 'custom', path, message })
    if (spec.bundle === undefined) {
      if (spec.workflow === BUNDLE_WORKFLOW) problem(['bundle'], `is required by ${BUNDLE_WORKFLOW}`)
      else if (spec.input === undefined) problem(['input'], 'is required: an object with the inputs of the workflow')
      return
    }
    if (spec.workflow !== undefined && spec.workflow !== BUNDLE_WORKFLOW) {
      problem(['workflow'], `must be ${BUNDLE_WORKFLOW} when there is a bundle`)
    }
    if (spec.input?.variants !== undefined) problem(['input', 'variants'], 'cannot be combined with a bundle')
    spec.bundle.forEach((entry, index) => {
      if (entry.workflow === BUNDLE_WORKFLOW) problem(['bundle', index, 'workflow'], 'a bundle cannot hold a bundle')
      if (entry.input.variants !== undefined) {
        problem(['bundle', index, 'input', 'variants'], 'a bundle entry has no variants; repeat the entry instead')
      }
    })
  })
export type RunSpec = z.infer<typeof RunSpec>
