// Gates that wait for a person, or were decided by one, always within one organization; each with what it is about.
import { type Review, totalSpent } from '@fabrique/schema'
import { sql } from 'kysely'
import { artifactResource, artifactsWithRuns } from './artifact-reader.ts'
import type { Db } from './client.ts'
import { costsOf } from './runs/tree.ts'

/** Of one review: more are on the page of its run. */
const ARTIFACTS_MAX = 50

export interface ReviewFilter {
  status?: 'open' | 'approved' | 'rejected' | undefined
  run_id?: string | undefined
  workflow?: string | undefined
}

export type ReviewReader = ReturnType<typeof createReviewReader>

/** A reader of reviews. */
export function createReviewReader({ kysely }: Db) {
  return {
    /** By age of their runs, the oldest first; behind `after`, the id of another. */
    async list(organizationId: string, filter: ReviewFilter, limit: number, after: string | null): Promise<Review[]> {
      let query = kysely
        .selectFrom('gates as g')
        .innerJoin('runs as r', 'r.id', 'g.run_id')
        .innerJoin('specifications as s', 's.hash', 'r.definition_hash')
        .leftJoin('api_keys as k', 'k.id', 'g.decided_by')
        .select(['g.run_id', 'g.id', 'g.name', 'g.type', 'g.status', 'g.detail', 'g.changed_at', 'g.expires_at'])
        .select(['g.on_expiry', 'g.decided_by', 'k.name as decided_by_name', 'r.workflow', 'r.workflow_version'])
        .select(['r.root_run_id', 'r.slot_index', 'r.parent_run_id', 'r.simulated', 'r.input', 'r.metadata'])
        .select(['r.estimated_usd', sql<Review['artifact_class']>`definition ->> 'artifactClass'`.as('artifact_class')])
        .where('r.organization_id', '=', organizationId)
        .orderBy('g.run_id')
        .orderBy('g.id')
        .limit(limit)
      query =
        filter.status === undefined
          ? query.where('g.status', 'in', ['open', 'approved', 'rejected'])
          : query.where('g.status', '=', filter.status)
      if (filter.run_id !== undefined) query = query.where('g.run_id', '=', filter.run_id)
      if (filter.workflow !== undefined) query = query.where('r.workflow', '=', filter.workflow)
      if (after !== null) {
        const [runId = '', gate = ''] = after.split('.')
        query = query.where(sql<boolean>`(g.run_id, g.id) > (${runId}, ${gate})`)
      }
      const rows = await query.execute()
      if (rows.length === 0) return []
      const runIds = [...new Set(rows.map((row) => row.run_id))]
      const [costOf, made] = await Promise.all([
        costsOf(kysely, runIds),
        artifactsWithRuns(kysely, organizationId)
          .where('artifacts.run_id', 'in', runIds)
          .orderBy('artifacts.id')
          .limit(ARTIFACTS_MAX * runIds.length)
          .execute(),
      ])
      const artifactsOf = Map.groupBy(made, ({ run_id }) => run_id)
      return rows.map((row) => {
        const all = (artifactsOf.get(row.run_id) ?? []).map((one) => artifactResource(one, one))
        const judged = all.filter(({ status }) => status !== 'draft')
        return {
          id: `${row.run_id}.${row.id}`,
          run_id: row.run_id,
          gate: { id: row.id, name: row.name, type: row.type, status: row.status, detail: row.detail },
          workflow: row.workflow,
          workflow_version: row.workflow_version,
          artifact_class: row.artifact_class,
          root_run_id: row.root_run_id,
          slot_index: row.slot_index,
          parent_run_id: row.parent_run_id,
          simulated: row.simulated,
          input: row.input,
          metadata: row.metadata,
          cost: { actual: totalSpent(costOf(row.run_id).actual), estimated: Number(row.estimated_usd) },
          since: row.changed_at.toISOString(),
          expires_at: row.expires_at?.toISOString() ?? null,
          on_expiry: row.on_expiry,
          decided_by: row.decided_by === null ? null : { id: row.decided_by, name: row.decided_by_name },
          artifacts: (judged.length > 0 ? judged : all).slice(0, ARTIFACTS_MAX),
        }
      })
    },
  }
}
