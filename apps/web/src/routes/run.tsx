// One run as it happens: its steps on a time line, what it made, what it cost, and what can be done with it.
import type { Artifact, JsonObject, LedgerEntry, RunResource, RunStep } from '@fabrique/schema'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router'
import { Ban, ChevronLeft, Download, Inbox, Play, RefreshCw, RotateCcw } from 'lucide-react'
import { useEffect, useState } from 'react'
import { api, contentUrl, thumbnailUrl } from '../api/http.ts'
import { artifactsQuery, ledgerQuery, runQuery, stepsQuery } from '../api/queries.ts'
import { RegenerateDialog } from '../review/regenerate.tsx'
import { useKeys } from '../ui/keys.ts'
import {
  Badge,
  Button,
  buttonClass,
  Dialog,
  Fact,
  Failure,
  Loading,
  SimulatedBadge,
  STATUS_TONES,
  StatusBadge,
  type Tone,
} from '../ui/parts.tsx'
import { showToast } from '../ui/toasts.tsx'
import { ago, askedFor, bytes, money, shortValue, span, titleOf } from '../words.ts'

const route = getRouteApi('/signed-in/runs/$runId')
const END = ['completed', 'failed', 'cancelled']

export function Run() {
  const { runId } = route.useParams()
  const { data: run, error, refetch } = useQuery(runQuery(runId))
  if (error !== null) return <Failure error={error} retry={() => void refetch()} />
  return (
    <div className="mx-auto max-w-6xl p-4 md:p-7">
      <Link to="/runs" search={{}} className="mb-3 inline-flex items-center gap-1 text-dim hover:text-ink">
        <ChevronLeft aria-hidden className="size-3.5" />
        Runs
      </Link>
      {run === undefined ? <Loading rows={5} className="h-16" /> : <Whole run={run} />}
    </div>
  )
}

function Whole({ run }: { run: RunResource }) {
  const steps = useQuery(stepsQuery(run.id))
  const artifacts = useQuery(artifactsQuery(run.id))
  const ledger = useQuery(ledgerQuery(run.id))
  const made = artifacts.data ?? []
  const open = run.gates.filter(({ status }) => status === 'open')
  const finished = made.filter(({ status }) => status !== 'draft')
  return (
    <>
      <header className="mb-5 flex flex-wrap items-start justify-between gap-3">
        <div className="min-w-0">
          <h1 className="break-words">{askedFor(run.input) || titleOf(run.workflow)}</h1>
          <div className="mt-1.5 flex flex-wrap items-center gap-x-2 gap-y-1 text-dim">
            <StatusBadge status={run.status} />
            {run.partial && <Badge tone="warn">Partial</Badge>}
            {run.simulated && <SimulatedBadge />}
            <span>{titleOf(run.workflow)}</span>
            <span className="text-faint">·</span>
            <time dateTime={run.created_at} title={new Date(run.created_at).toLocaleString()}>
              {ago(run.created_at)}
            </time>
          </div>
        </div>
        <Actions run={run} />
      </header>
      {run.error !== null && (
        <div role="alert" className="mb-5 rounded-xl bg-bad-soft p-4">
          <p className="font-medium text-bad">{run.error.message}</p>
          <p className="mt-1 text-sm text-dim">
            <code className="font-mono">{run.error.code}</code>
            {run.error.node_key !== undefined && ` at ${run.error.node_key}`}
            {run.error.retryable === true && ' · Trying again can help; finished steps are not paid again.'}
          </p>
        </div>
      )}
      {run.status === 'waiting' && (
        <Link
          to="/review"
          search={reviewOf(run)}
          className="mb-5 flex items-center gap-3 rounded-xl border border-line bg-warn-soft px-4 py-3 text-warn hover:border-strong-line"
        >
          <Inbox aria-hidden className="size-4 shrink-0" />
          <span className="min-w-0 flex-1">
            Waits for a decision: {[...new Set(open.map(({ name }) => name))].join(', ')}
            {open.length > 1 && ` (${open.length})`}
          </span>
          <span className="shrink-0 font-medium">Review</span>
        </Link>
      )}
      <div className="grid grid-cols-1 gap-x-8 gap-y-6 lg:grid-cols-[minmax(0,1fr)_17rem]">
        <div className="grid min-w-0 grid-cols-1 content-start gap-6">
          {finished.length > 0 && <Made artifacts={finished} />}
          <section>
            <h2 className="mb-2">Steps</h2>
            {steps.data === undefined ? (
              <Loading rows={4} className="h-9" />
            ) : (
              <Waterfall run={run} steps={steps.data} />
            )}
          </section>
          {ledger.data !== undefined && ledger.data.length > 0 && <Ledger entries={ledger.data} />}
        </div>
        <Facts run={run} drafts={made.length - finished.length} />
      </div>
    </>
  )
}

function reviewOf(run: RunResource): { at?: string } {
  const gate = run.gates.find(({ status }) => status === 'open')
  return gate === undefined ? {} : { at: `${gate.run_id ?? run.id}.${gate.id}` }
}

function Made({ artifacts }: { artifacts: Artifact[] }) {
  return (
    <section>
      <h2 className="sr-only">What it made</h2>
      <ul className="grid grid-cols-2 gap-3 sm:grid-cols-3">
        {artifacts.map((artifact) => (
          <li key={artifact.id} className="overflow-hidden rounded-xl border border-line bg-panel">
            <a
              href={contentUrl(artifact.id)}
              target="_blank"
              rel="noreferrer"
              className="checkerboard grid aspect-square place-items-center overflow-hidden"
            >
              {artifact.mime_type.startsWith('image/') ? (
                <img
                  src={thumbnailUrl(artifact.id, 640)}
                  alt={`${artifact.role} of ${artifact.workflow}`}
                  className="size-full object-contain p-2"
                />
              ) : (
                <span className="text-dim">{artifact.mime_type}</span>
              )}
            </a>
            <div className="flex items-center gap-1 border-t border-line py-1 pr-1 pl-3">
              <span className="min-w-0 flex-1 truncate">
                {artifact.role}
                <span className="text-faint"> · {bytes(artifact.bytes)}</span>
              </span>
              {artifact.status === 'rejected' && <Badge tone="bad">Rejected</Badge>}
              <a
                href={contentUrl(artifact.id)}
                download
                aria-label={`Download ${artifact.role}`}
                className="grid size-7 shrink-0 place-items-center rounded-md text-dim hover:bg-raised hover:text-ink"
              >
                <Download aria-hidden className="size-4" />
              </a>
            </div>
          </li>
        ))}
      </ul>
    </section>
  )
}

const BARS: Record<Tone, string> = {
  neutral: 'bg-strong-line',
  accent: 'bg-accent',
  good: 'bg-good',
  warn: 'bg-[light-dark(#dba12f,#e5b454)]',
  bad: 'bg-bad',
}

/** Steps on one time line, from the run's beginning to its end or to now. */
function Waterfall({ run, steps }: { run: RunResource; steps: RunStep[] }) {
  const now = useNow(!END.includes(run.status))
  const from = Date.parse(run.created_at)
  const until = run.finished_at === null ? now : Date.parse(run.finished_at)
  const whole = Math.max(1, until - from)
  return (
    <ol className="overflow-hidden rounded-xl border border-line bg-panel">
      {steps.map((step) => {
        const begin = step.started_at === null ? null : Date.parse(step.started_at)
        const end = step.finished_at === null ? until : Date.parse(step.finished_at)
        const ms = begin === null ? 0 : end - begin
        return (
          <li
            key={step.id}
            className="grid grid-cols-[minmax(0,1fr)_auto] items-center gap-x-4 gap-y-1 border-t border-line px-4 py-2 first:border-t-0 sm:grid-cols-[minmax(0,15rem)_minmax(0,1fr)_4rem_4.5rem]"
          >
            <span className="min-w-0">
              <span className="block truncate">
                {step.kind === 'slot' ? `No. ${Number(step.id.split('/')[1]) + 1}` : (step.name ?? step.id)}
              </span>
              <span className="block truncate text-xs text-faint">
                {step.model ?? (step.kind === 'slot' ? titleOf(step.name ?? '') : step.kind)}
                {step.reused === true && ' · taken over'}
                {(step.attempt ?? 0) > 1 && ` · attempt ${step.attempt}`}
                {step.items !== undefined && step.items.length > 0 && ` · ${step.items.length} items`}
              </span>
            </span>
            <span className="max-sm:order-3 max-sm:col-span-2">
              {begin === null ? (
                <StatusBadge status={step.status} />
              ) : (
                <span className="block h-2 rounded-full bg-raised">
                  <span
                    role="img"
                    aria-label={`${step.status}, ${span(begin - from)} after the start, for ${span(ms)}`}
                    className={`block h-2 min-w-1 rounded-full ${BARS[STATUS_TONES[step.status]]} ${step.status === 'running' ? 'animate-pulse' : ''}`}
                    style={{
                      marginLeft: `${Math.min(99, ((begin - from) / whole) * 100)}%`,
                      width: `${Math.min(100, (ms / whole) * 100)}%`,
                    }}
                  />
                </span>
              )}
              {step.error !== null && <span className="mt-1 block text-sm text-bad">{step.error.message}</span>}
            </span>
            <span className="text-right text-sm text-dim">{begin === null ? '' : span(ms)}</span>
            <span className="hidden text-right text-sm text-dim sm:block">
              {(step.cost_usd ?? 0) > 0 && money(step.cost_usd ?? 0)}
            </span>
            {step.kind === 'slot' &&
              step.runs.map(({ run_id: runId }) => (
                <Link
                  key={runId}
                  to="/runs/$runId"
                  params={{ runId }}
                  search={{}}
                  className="text-sm text-accent hover:underline"
                >
                  Open its run
                </Link>
              ))}
          </li>
        )
      })}
    </ol>
  )
}

function useNow(isRunning: boolean): number {
  const [now, setNow] = useState(Date.now)
  useEffect(() => {
    if (!isRunning) return
    const timer = setInterval(() => setNow(Date.now()), 500)
    return () => clearInterval(timer)
  }, [isRunning])
  return now
}

function Ledger({ entries }: { entries: LedgerEntry[] }) {
  return (
    <section>
      <h2 className="mb-2">Calls of providers</h2>
      <div
        className="overflow-x-auto rounded-xl border border-line bg-panel"
        tabIndex={0}
        role="group"
        aria-label="Calls"
      >
        <table className="w-full min-w-120 text-left text-sm">
          <thead className="text-faint">
            <tr>
              {['Step', 'Model', 'Outcome', 'Expected', 'Actual'].map((word, index) => (
                <th key={word} className={`px-4 py-2 font-normal ${index > 2 ? 'text-right' : ''}`}>
                  {word}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {entries.map((entry) => (
              <tr key={entry.id} className="border-t border-line">
                <td className="px-4 py-1.5">{entry.stepId}</td>
                <td className="px-4 py-1.5 text-dim">{entry.model}</td>
                <td className="px-4 py-1.5">
                  {entry.outcome}
                  {entry.simulated && <span className="text-faint"> (simulated)</span>}
                </td>
                <td className="px-4 py-1.5 text-right text-dim">{money(entry.estimatedCostUsd)}</td>
                <td className="px-4 py-1.5 text-right">
                  {entry.actualCostUsd === null ? '—' : money(entry.actualCostUsd)}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  )
}

function Facts({ run, drafts }: { run: RunResource; drafts: number }) {
  const { cost } = run
  const asked = Object.entries(run.input).filter(([name]) => name !== 'regenerate')
  const direction = (run.input.regenerate as JsonObject | undefined)?.direction
  return (
    <aside aria-label="Facts" className="content-start">
      <dl className="grid gap-3.5 rounded-xl border border-line bg-panel p-4">
        <Fact term="Cost">
          <span className="text-lg font-semibold">{money(cost.actual)}</span>
          <span className="block text-sm text-faint">{money(cost.estimated)} expected</span>
          {cost.actual > 0 && (
            <span className="block text-sm text-faint">
              {[
                cost.billed > 0 && `${money(cost.billed)} billed`,
                cost.simulated > 0 && `${money(cost.simulated)} simulated, not charged`,
                cost.unknown > 0 && `${money(cost.unknown)} unknown`,
              ]
                .filter(Boolean)
                .join(' · ')}
            </span>
          )}
        </Fact>
        {typeof direction === 'string' && <Fact term="What should be different">{direction}</Fact>}
        {asked.map(([name, value]) => (
          <Fact key={name} term={titleOf(name.replaceAll('_', '-'))}>
            {shortValue(value)}
          </Fact>
        ))}
        {Object.keys(run.metadata).length > 0 && (
          <Fact term="Metadata">
            {Object.entries(run.metadata).map(([key, value]) => (
              <span key={key} className="block font-mono text-sm">
                {key}: {shortValue(value)}
              </span>
            ))}
          </Fact>
        )}
        <Fact term="Version">{run.workflow_version}</Fact>
        <Fact term="Priority">{run.priority}</Fact>
        {drafts > 0 && <Fact term="Made on the way">{drafts} files</Fact>}
        {run.parent_run_id !== null && (
          <Fact term="Another try of">
            <RunLink id={run.parent_run_id} />
          </Fact>
        )}
        {run.retry_of !== null && (
          <Fact term="Retry of">
            <RunLink id={run.retry_of} />
          </Fact>
        )}
        {run.root_run_id !== run.id && (
          <Fact term="Part of">
            <RunLink id={run.root_run_id} />
          </Fact>
        )}
        <Fact term="Run">
          <span className="font-mono text-sm">{run.id}</span>
        </Fact>
      </dl>
    </aside>
  )
}

function RunLink({ id }: { id: string }) {
  return (
    <Link
      to="/runs/$runId"
      params={{ runId: id }}
      search={{}}
      className="font-mono text-sm break-all text-accent hover:underline"
    >
      {id}
    </Link>
  )
}

function Actions({ run }: { run: RunResource }) {
  const client = useQueryClient()
  const navigate = useNavigate()
  const [dialog, setDialog] = useState<'cancel' | 'regenerate' | null>(null)
  const isEnded = END.includes(run.status)
  const isRetryable = run.status === 'failed' || run.status === 'cancelled'

  async function act(path: string): Promise<void> {
    try {
      const next = await api<RunResource>(`/v1/workflows/runs/${run.id}/${path}`, { method: 'POST' })
      if (next.id === run.id) client.setQueryData(runQuery(run.id).queryKey, next)
      else await navigate({ to: '/runs/$runId', params: { runId: next.id }, search: {} })
    } catch (error) {
      showToast({ id: `${run.id} ${path}`, tone: 'bad', text: (error as Error).message })
    }
    setDialog(null)
  }

  useKeys('Run', [
    { keys: 'r', does: 'Retry', run: () => void (isRetryable && act('retry')) },
    { keys: 'x', does: 'Cancel', run: () => !isEnded && setDialog('cancel') },
  ])
  return (
    <div className="flex flex-wrap gap-2">
      {isRetryable && (
        <Button variant="primary" onClick={() => void act('retry')}>
          <RotateCcw aria-hidden className="size-4" />
          Retry
        </Button>
      )}
      {isEnded && (
        <Button onClick={() => setDialog('regenerate')}>
          <RefreshCw aria-hidden className="size-4" />
          Generate again
        </Button>
      )}
      <Link to="/launch/$" params={{ _splat: run.workflow }} search={{ from: run.id }} className={buttonClass()}>
        <Play aria-hidden className="size-4" />
        Run with changes
      </Link>
      {!isEnded && (
        <Button variant="danger" onClick={() => setDialog('cancel')}>
          <Ban aria-hidden className="size-4" />
          Cancel
        </Button>
      )}
      <RegenerateDialog
        parent={{ ...run, run_id: run.id }}
        open={dialog === 'regenerate'}
        onClose={() => setDialog(null)}
      />
      <Dialog open={dialog === 'cancel'} title="Cancel this run" onClose={() => setDialog(null)}>
        <p className="text-dim">
          {money(run.cost.actual)} of {money(run.cost.estimated)} is spent so far
          {run.simulated && ' (simulated)'}. Steps that have not called a provider yet are not paid; what a provider is
          at work on may still be charged. What is finished is kept, and a retry goes on from there.
        </p>
        <div className="mt-4 flex justify-end gap-2">
          <Button onClick={() => setDialog(null)}>Let it run</Button>
          <Button variant="danger" onClick={() => void act('cancel')}>
            Cancel the run
          </Button>
        </div>
      </Dialog>
    </div>
  )
}
