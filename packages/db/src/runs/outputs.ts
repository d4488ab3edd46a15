// What runs have come to, one entry each, as `outputs` of a run holds them.
import type { Artifact, RunOutput } from '@fabrique/schema'
import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import { artifactResource } from '../artifact-reader.ts'
import type { Tables } from '../tables.ts'

type RunRow = Pick<
  Selectable<Tables['runs']>,
  'id' | 'slot_index' | 'workflow' | 'workflow_version' | 'definition_hash' | 'instance' | 'status' | 'output' | 'error'
>

/** The entry of each of these runs, in their order; files that are only drafts are left out. */
export async function outputsOf(db: Kysely<Tables> | Transaction<Tables>, rows: RunRow[]): Promise<RunOutput[]> {
  if (rows.length === 0) return []
  const hashes = [...new Set(rows.map((row) => row.definition_hash))]
  const [artifacts, classes] = await Promise.all([
    db
      .selectFrom('artifacts')
      .selectAll()
      .where(
        'run_id',
        'in',
        rows.map(({ id }) => id),
      )
      .where('status', '!=', 'draft')
      .orderBy('id')
      .execute(),
    db
      .selectFrom('specifications')
      .select(['hash', sql<Artifact['artifact_class']>`definition ->> 'artifactClass'`.as('class')])
      .where('hash', 'in', hashes)
      .execute(),
  ])
  const ofRun = Map.groupBy(artifacts, (artifact) => artifact.run_id)
  const classOf = new Map(classes.map((row) => [row.hash, row.class]))
  return rows.map((row) => ({
    index: row.slot_index ?? 0,
    workflow: row.workflow,
    variant_index: row.instance.variantIndex,
    run_id: row.id,
    status: row.status,
    output: row.output,
    artifacts: (ofRun.get(row.id) ?? []).map((artifact) =>
      artifactResource(artifact, {
        ...row,
        artifact_class: classOf.get(row.definition_hash) as Artifact['artifact_class'],
      }),
    ),
    error: row.error,
  }))
}
