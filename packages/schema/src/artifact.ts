// An artifact as the API shows it: what a run has made, without its bytes.
import { z } from 'zod'
import { Instant } from './json.ts'
import { ARTIFACT_CLASSES } from './template.ts'

export const Artifact = z
  .object({
    id: z.string(),
    run_id: z.string().describe('The run that made it: of a run with slots, the slot.'),
    workflow: z.string(),
    workflow_version: z.string(),
    artifact_class: z.enum(ARTIFACT_CLASSES),
    role: z
      .string()
      .describe("The role of the file in the workflow's artifactSchema, or the name that its step gave it."),
    status: z
      .enum(['draft', 'review', 'approved', 'rejected'])
      .describe('`draft`: made on the way, and not what the workflow promises.'),
    mime_type: z.string(),
    bytes: z.int(),
    sha256: z.string(),
    width: z.int().exactOptional(),
    height: z.int().exactOptional(),
    duration_ms: z.int().exactOptional(),
    storage_key: z.string().describe('Its place in the artifact store.'),
    simulated: z.boolean().describe('Whether a built-in simulator made it, or what it was made from.'),
    created_at: Instant,
  })
  .meta({ id: 'Artifact' })
export type Artifact = z.infer<typeof Artifact>

/** What events say of an artifact that the run itself has made. */
export const ArtifactSummary = Artifact.pick({
  id: true,
  role: true,
  status: true,
  mime_type: true,
  bytes: true,
  sha256: true,
  storage_key: true,
  simulated: true,
})
  .extend({ width: z.int().nullable(), height: z.int().nullable() })
  .meta({ id: 'ArtifactSummary' })
export type ArtifactSummary = z.infer<typeof ArtifactSummary>
