// Artifacts as the outside sees them, always within one organization.
// Hides the row; the bytes are the artifact store's.
import { Artifact } from '@fabrique/schema'
import { type Kysely, type Selectable, sql } from 'kysely'
import type { Db } from './client.ts'
import { resourceOf } from './row-shape.ts'
import type { Tables } from './tables.ts'

/** An artifact in the API's spelling. */
export function artifactResource(
  { width, height, duration_ms, ...row }: Selectable<Tables['artifacts']>,
  { workflow, workflow_version, artifact_class }: Pick<Artifact, 'workflow' | 'workflow_version' | 'artifact_class'>,
): Artifact {
  return resourceOf(Artifact, row, {
    workflow,
    workflow_version,
    artifact_class,
    bytes: Number(row.bytes),
    ...(width === null ? {} : { width }),
    ...(height === null ? {} : { height }),
    ...(duration_ms === null ? {} : { duration_ms }),
  })
}

/** The artifacts of an organization, each with what its run says of it. */
export const artifactsWithRuns = (kysely: Kysely<Tables>, organizationId: string) =>
  kysely
    .selectFrom('artifacts')
    .innerJoin('runs', 'runs.id', 'artifacts.run_id')
    .innerJoin('specifications', 'specifications.hash', 'runs.definition_hash')
    .selectAll('artifacts')
    .select([
      'runs.workflow',
      'runs.workflow_version',
      sql<Artifact['artifact_class']>`definition ->> 'artifactClass'`.as('artifact_class'),
    ])
    .where('artifacts.organization_id', '=', organizationId)

export type ArtifactReader = ReturnType<typeof createArtifactReader>

/** A reader of artifact rows. */
export function createArtifactReader({ kysely }: Db) {
  const query = (organizationId: string) => artifactsWithRuns(kysely, organizationId)
  return {
    /** The artifacts of a run and of its slots, oldest first; without a run, the newest 100 of the organization. */
    async list(organizationId: string, runId: string | null): Promise<Artifact[]> {
      const rows =
        runId === null
          ? await query(organizationId).orderBy('artifacts.id', 'desc').limit(100).execute()
          : await query(organizationId)
              .where((eb) =>
                eb.or([
                  eb('artifacts.run_id', '=', runId),
                  eb.and([eb('runs.awaited_by', '=', runId), eb('runs.slot_index', 'is not', null)]),
                ]),
              )
              .orderBy('artifacts.id')
              .limit(1000)
              .execute()
      return rows.map((row) => artifactResource(row, row))
    },
    /** Null where the organization has none of that id. */
    async get(organizationId: string, id: string): Promise<Artifact | null> {
      const row = await query(organizationId).where('artifacts.id', '=', id).executeTakeFirst()
      return row === undefined ? null : artifactResource(row, row)
    },
  }
}
