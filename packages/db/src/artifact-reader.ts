// Artifacts as the outside sees them, always within one organization.
// Hides the row; the bytes are the artifact store's.
import type { Artifact } from '@fabrique/schema'
import { type Selectable, sql } from 'kysely'
import type { Db } from './client.ts'
import type { Tables } from './tables.ts'

type ArtifactRow = Selectable<Tables['artifacts']>

/** An artifact in the API's spelling. */
export function artifactResource(
  row: ArtifactRow,
  run: Pick<Artifact, 'workflow' | 'workflow_version' | 'artifact_class'>,
): Artifact {
  return {
    id: row.id,
    run_id: row.run_id,
    workflow: run.workflow,
    workflow_version: run.workflow_version,
    artifact_class: run.artifact_class,
    role: row.role,
    status: row.status,
    mime_type: row.mime_type,
    bytes: Number(row.bytes),
    sha256: row.sha256,
    ...(row.width === null ? {} : { width: row.width }),
    ...(row.height === null ? {} : { height: row.height }),
    ...(row.duration_ms === null ? {} : { duration_ms: row.duration_ms }),
    storage_key: row.storage_key,
    simulated: row.simulated,
    created_at: row.created_at.toISOString(),
  }
}

export interface ArtifactReader {
  /** The artifacts of a run and of its slots, oldest first; without a run, the newest 100 of the organization. */
  list(organizationId: string, runId: string | null): Promise<Artifact[]>
  get(
    organizationId: string,
    id: string,
  ): Promise<{ resource: Artifact; storageKey: string; sha256: string; mimeType: string } | null>
}

/** A reader of artifact rows. */
export function createArtifactReader(db: Db): ArtifactReader {
  const query = (organizationId: string) =>
    db.kysely
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
  return {
    async list(organizationId, runId) {
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
    async get(organizationId, id) {
      const row = await query(organizationId).where('artifacts.id', '=', id).executeTakeFirst()
      if (row === undefined) return null
      return {
        resource: artifactResource(row, row),
        storageKey: row.storage_key,
        sha256: row.sha256,
        mimeType: row.mime_type,
      }
    },
  }
}
