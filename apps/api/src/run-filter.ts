// The run filter as callers write it: the query of a list, and the document of what is done to all that it shows.
import type { RunFilter } from '@fabrique/db'
import { RUN_STATUSES, RunId, WorkflowId } from '@fabrique/schema'
import { z } from 'zod'

const Instant = z.iso.datetime({ offset: true })

/** The members of a filter, all optional; every one that is given must fit. */
export const RUN_FILTER = {
  status: z.enum(RUN_STATUSES).optional(),
  workflow: WorkflowId.optional(),
  parent_run_id: RunId.optional(),
  root_run_id: RunId.optional(),
  metadata: z.record(z.string(), z.string()).optional(),
  created_after: Instant.optional(),
  created_before: Instant.optional(),
}

/** The filter as the record takes it. */
export function runFilter(given: z.infer<z.ZodObject<typeof RUN_FILTER>>): RunFilter {
  return {
    ...(given.status === undefined ? {} : { status: given.status }),
    ...(given.workflow === undefined ? {} : { workflow: given.workflow }),
    ...(given.parent_run_id === undefined ? {} : { parentRunId: given.parent_run_id }),
    ...(given.root_run_id === undefined ? {} : { rootRunId: given.root_run_id }),
    ...(given.metadata === undefined ? {} : { metadata: given.metadata }),
    ...(given.created_after === undefined ? {} : { createdAfter: new Date(given.created_after) }),
    ...(given.created_before === undefined ? {} : { createdBefore: new Date(given.created_before) }),
  }
}
