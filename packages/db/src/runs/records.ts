// Rows of a run's parts as the engine knows them.
import type { ArtifactRecord, Checkpoint } from '@fabrique/engine'
import type { Selectable } from 'kysely'
import type { Tables } from '../tables.ts'

export function checkpointRecord(row: Selectable<Tables['checkpoints']>): Checkpoint {
  return {
    key: row.key,
    stepId: row.step_id,
    status: row.status,
    attempt: row.attempt,
    output: row.output,
    error: row.error,
    simulated: row.simulated,
    startedAt: row.started_at.toISOString(),
    finishedAt: row.finished_at.toISOString(),
  }
}

export function artifactRecord(row: Selectable<Tables['artifacts']>): ArtifactRecord {
  return {
    id: row.id,
    stepKey: row.step_key,
    role: row.role,
    status: row.status,
    mimeType: row.mime_type,
    bytes: Number(row.bytes),
    sha256: row.sha256,
    width: row.width,
    height: row.height,
    durationMs: row.duration_ms,
    storageKey: row.storage_key,
    simulated: row.simulated,
  }
}
