// What the screens ask the API for, each under the key by which events make it stale.
import type {
  Artifact,
  JsonObject,
  LedgerEntry,
  ListedRun,
  Review,
  RunResource,
  RunStep,
  WebSession,
  WorkflowResource,
} from '@fabrique/schema'
import { infiniteQueryOptions, QueryClient, queryOptions } from '@tanstack/react-query'
import { ApiError, api, withQuery } from './http.ts'

interface Page<Item> {
  data: Item[]
  next_cursor: string | null
}

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 30_000,
      retry: (count, error) => count < 2 && !(error instanceof ApiError && error.status >= 400 && error.status < 500),
    },
  },
})

export const sessionQuery = queryOptions({
  queryKey: ['session'],
  staleTime: 60_000,
  queryFn: async ({ signal }) => (await api<{ session: WebSession | null }>('/session', { signal })).session,
})

export const workflowsQuery = queryOptions({
  queryKey: ['workflows'],
  queryFn: async ({ signal }) => (await api<{ data: WorkflowResource[] }>('/v1/workflows', { signal })).data,
})

export const workflowQuery = (id: string) =>
  queryOptions({
    queryKey: ['workflows', id],
    queryFn: ({ signal }) => api<WorkflowResource>(`/v1/workflows/${id}`, { signal }),
  })

export const inputSchemaQuery = (id: string) =>
  queryOptions({
    queryKey: ['workflows', id, 'schema'],
    queryFn: ({ signal }) => api<JsonObject>(withQuery('/v1/workflows/schema', { name: id }), { signal }),
  })

/** All that waits, a hundred at a time. */
export const reviewsQuery = infiniteQueryOptions({
  queryKey: ['reviews'],
  initialPageParam: undefined as string | undefined,
  queryFn: ({ signal, pageParam }) =>
    api<Page<Review>>(withQuery('/v1/reviews', { limit: 100, cursor: pageParam }), { signal }),
  getNextPageParam: (last) => last.next_cursor ?? undefined,
})

export interface RunSearch {
  status?: ListedRun['status'] | undefined
  workflow?: string | undefined
}

export const runsQuery = (search: RunSearch) =>
  infiniteQueryOptions({
    queryKey: ['runs', search],
    initialPageParam: undefined as string | undefined,
    queryFn: ({ signal, pageParam }) =>
      api<Page<ListedRun>>(
        withQuery('/v1/workflows/runs', { ...search, limit: 50, fields: 'input', cursor: pageParam }),
        { signal },
      ),
    getNextPageParam: (last) => last.next_cursor ?? undefined,
  })

export const runQuery = (id: string) =>
  queryOptions({
    queryKey: ['run', id],
    queryFn: ({ signal }) => api<RunResource>(`/v1/workflows/runs/${id}`, { signal }),
  })

export const stepsQuery = (id: string) =>
  queryOptions({
    queryKey: ['run', id, 'steps'],
    queryFn: async ({ signal }) => (await api<{ data: RunStep[] }>(`/v1/workflows/runs/${id}/steps`, { signal })).data,
  })

export const ledgerQuery = (id: string) =>
  queryOptions({
    queryKey: ['run', id, 'ledger'],
    queryFn: async ({ signal }) =>
      (await api<{ data: LedgerEntry[] }>(`/v1/workflows/runs/${id}/ledger`, { signal })).data,
  })

export const artifactsQuery = (runId?: string) =>
  queryOptions({
    queryKey: runId === undefined ? ['artifacts'] : ['run', runId, 'artifacts'],
    queryFn: async ({ signal }) =>
      (await api<{ data: Artifact[] }>(withQuery('/v1/artifacts', { run_id: runId }), { signal })).data,
  })
