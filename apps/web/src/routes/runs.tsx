// The runs of the organization, newest first, by what the address says.
import type { ListedRun } from '@fabrique/schema'
import { useInfiniteQuery, useQuery } from '@tanstack/react-query'
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router'
import { Activity } from 'lucide-react'
import { runsQuery, workflowsQuery } from '../api/queries.ts'
import {
  Badge,
  Button,
  buttonClass,
  Empty,
  Failure,
  Loading,
  PageHead,
  StatusBadge,
  tabClass,
  WorkflowSelect,
} from '../ui/parts.tsx'
import { ago, askedFor, money, span, textOf, titleOf } from '../words.ts'

const route = getRouteApi('/signed-in/runs')
const STATUSES: { status: ListedRun['status'] | undefined; word: string }[] = [
  { status: undefined, word: 'All' },
  { status: 'pending', word: 'Queued' },
  { status: 'running', word: 'Running' },
  { status: 'waiting', word: 'Waiting' },
  { status: 'completed', word: 'Completed' },
  { status: 'failed', word: 'Failed' },
  { status: 'cancelled', word: 'Cancelled' },
]

export function Runs() {
  const search = route.useSearch()
  const navigate = useNavigate()
  const { data, error, refetch, hasNextPage, fetchNextPage, isFetchingNextPage } = useInfiniteQuery(runsQuery(search))
  const { data: workflows = [] } = useQuery(workflowsQuery)
  const runs = data?.pages.flatMap((page) => page.data) ?? []
  const isFiltered = search.status !== undefined || search.workflow !== undefined
  return (
    <div className="mx-auto max-w-6xl p-4 md:p-7">
      <PageHead title="Runs">
        <WorkflowSelect
          options={workflows.map(({ id, name }) => ({ id, title: textOf(name) || id }))}
          value={search.workflow}
          onChange={(workflow) => void navigate({ to: '/runs', search: { ...search, workflow } })}
        />
      </PageHead>
      <nav aria-label="Status" className="-mx-4 mb-3 flex gap-1 overflow-x-auto px-4 pb-1">
        {STATUSES.map(({ status, word }) => (
          <Link
            key={word}
            to="/runs"
            search={{ ...search, status }}
            aria-current={search.status === status ? 'page' : undefined}
            className={`shrink-0 ${tabClass(search.status === status)}`}
          >
            {word}
          </Link>
        ))}
      </nav>
      {error !== null ? (
        <Failure error={error} retry={() => void refetch()} />
      ) : data === undefined ? (
        <Loading rows={8} className="h-13" />
      ) : runs.length === 0 ? (
        <Empty
          icon={Activity}
          title={isFiltered ? 'No run fits' : 'No runs yet'}
          action={
            isFiltered ? (
              <Link to="/runs" search={{}} className={buttonClass()}>
                Show all runs
              </Link>
            ) : (
              <Link to="/library" className={buttonClass('primary')}>
                Open the library
              </Link>
            )
          }
        >
          {isFiltered
            ? 'No run has this status and this workflow.'
            : 'Pick a template in the library; its runs are followed here, live.'}
        </Empty>
      ) : (
        <>
          <ul className="overflow-hidden rounded-xl border border-line bg-panel">
            {runs.map((run) => (
              <Row key={run.id} run={run} />
            ))}
          </ul>
          {hasNextPage && (
            <div className="mt-4 text-center">
              <Button disabled={isFetchingNextPage} onClick={() => void fetchNextPage()}>
                {isFetchingNextPage ? 'Loading …' : 'Show older runs'}
              </Button>
            </div>
          )}
        </>
      )}
    </div>
  )
}

function Row({ run }: { run: ListedRun }) {
  const { summary, cost } = run
  const end = run.finished_at === null ? Date.now() : Date.parse(run.finished_at)
  return (
    <li className="border-t border-line first:border-t-0">
      <Link
        to="/runs/$runId"
        params={{ runId: run.id }}
        search={{}}
        className="grid grid-cols-[minmax(0,1fr)_auto] items-center gap-x-4 px-4 py-2.5 hover:bg-raised md:grid-cols-[minmax(0,1fr)_9rem_5rem_5rem_5rem]"
      >
        <span className="min-w-0">
          <span className="block truncate font-medium">{askedFor(run.input) || titleOf(run.workflow)}</span>
          <span className="block truncate text-sm text-faint">
            {titleOf(run.workflow)}
            {summary.total > 1 && ` · ${summary.completed} of ${summary.total}`}
          </span>
        </span>
        <span className="flex flex-col items-end gap-1 md:flex-row md:items-center">
          <StatusBadge status={run.status} />
          {run.partial && <Badge tone="warn">Partial</Badge>}
        </span>
        <span className="hidden text-right text-dim md:block">
          {run.started_at === null ? '' : span(end - Date.parse(run.started_at))}
        </span>
        <span className={`hidden text-right md:block ${run.simulated ? 'text-faint' : 'text-dim'}`}>
          <span title={run.simulated ? 'Simulated: nothing was charged' : undefined}>{money(cost.actual)}</span>
        </span>
        <time className="hidden text-right text-sm text-faint md:block" dateTime={run.created_at}>
          {ago(run.created_at)}
        </time>
      </Link>
    </li>
  )
}
