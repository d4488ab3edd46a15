// A run before it is one: the fields of its template, what it will cost, and the same as a document or a command.
import type { DryRun, JsonObject, Problem, RunResource, WorkflowResource } from '@fabrique/schema'
import { keepPreviousData, useQuery } from '@tanstack/react-query'
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router'
import { Check, ChevronLeft, Copy, Play, TriangleAlert } from 'lucide-react'
import { type FormEvent, useEffect, useMemo, useState } from 'react'
import { ApiError, api } from '../api/http.ts'
import { inputSchemaQuery, runQuery, workflowQuery } from '../api/queries.ts'
import { initialValue, isObject, type Schema } from '../forms/schema.ts'
import { SchemaForm, sentence } from '../forms/schema-form.tsx'
import { Badge, Button, Failure, Kbd, Loading } from '../ui/parts.tsx'
import { money, textOf } from '../words.ts'

const route = getRouteApi('/signed-in/launch/$')
const DEBOUNCE_MS = 250
/** What every schema of an input has, asked for apart. */
const APART = ['variants', 'regenerate']

interface Draft {
  input: JsonObject
  variants: number
  priority: number
}

export function Launch() {
  const { _splat: id = '' } = route.useParams()
  const { from } = route.useSearch()
  const workflow = useQuery(workflowQuery(id))
  const schema = useQuery(inputSchemaQuery(id))
  const earlier = useQuery({ ...runQuery(from ?? ''), enabled: from !== undefined })
  const error = workflow.error ?? schema.error ?? earlier.error
  return (
    <div className="mx-auto max-w-6xl p-4 md:p-7">
      <Link to="/library" className="mb-3 inline-flex items-center gap-1 text-dim hover:text-ink">
        <ChevronLeft aria-hidden className="size-3.5" />
        Library
      </Link>
      {error !== null ? (
        <Failure
          error={error}
          retry={() => {
            void workflow.refetch()
            void schema.refetch()
          }}
        />
      ) : workflow.data === undefined || schema.data === undefined || (from !== undefined && earlier.isPending) ? (
        <Loading rows={5} className="h-16" />
      ) : (
        <Form
          key={`${id} ${from}`}
          workflow={workflow.data}
          schema={withoutShared(schema.data)}
          start={earlier.data?.input}
        />
      )}
    </div>
  )
}

function withoutShared(schema: Schema): Schema {
  const properties = isObject(schema.properties) ? schema.properties : {}
  const own = Object.entries(properties).filter(([name]) => !APART.includes(name))
  return { ...schema, properties: Object.fromEntries(own) }
}

function Form({
  workflow,
  schema,
  start,
}: {
  workflow: WorkflowResource
  schema: Schema
  start: JsonObject | undefined
}) {
  const { id, name, description, visibility } = workflow
  const navigate = useNavigate()
  const key = `fabrique-draft ${id}`
  const [draft, setDraft] = useState<Draft>(() => startOf(key, schema, start))
  const [touched, setTouched] = useState<ReadonlySet<string>>(new Set())
  const [isTried, setTried] = useState(false)
  const [isBusy, setBusy] = useState(false)
  const [refusal, setRefusal] = useState<Error | null>(null)

  const spec = useMemo(() => specOf(id, draft), [id, draft])
  const settled = useDebounced(spec, DEBOUNCE_MS)
  const dryRun = useQuery({
    queryKey: ['dry-run', settled],
    placeholderData: keepPreviousData,
    retry: false,
    staleTime: 60_000,
    queryFn: async ({ signal }): Promise<{ tried: DryRun | null; refused: ApiError | null }> => {
      try {
        return { tried: await api<DryRun>('/v1/workflows/runs?dry_run=true', { body: settled, signal }), refused: null }
      } catch (error) {
        // What is refused is an answer too; only a server that cannot be reached is none.
        if (error instanceof ApiError && error.status === 422) return { tried: null, refused: error }
        throw error
      }
    },
  })
  const problems = dryRun.data?.refused?.problem?.errors ?? []
  const shown = isTried ? problems : problems.filter(({ pointer }) => touched.has(pointer))

  useEffect(() => {
    try {
      localStorage.setItem(key, JSON.stringify(draft))
    } catch {
      // Files may be larger than what a browser keeps; the draft of before stays.
    }
  }, [key, draft])

  async function submit(event: FormEvent): Promise<void> {
    event.preventDefault()
    setTried(true)
    setBusy(true)
    setRefusal(null)
    try {
      const headers = { 'idempotency-key': crypto.randomUUID() }
      const run = await api<RunResource>('/v1/workflows/runs', { body: spec, headers })
      localStorage.removeItem(key)
      await navigate({ to: '/runs/$runId', params: { runId: run.id }, search: {} })
    } catch (error) {
      setRefusal(error as Error)
      setBusy(false)
      void dryRun.refetch()
    }
  }

  return (
    <form
      noValidate
      onSubmit={(event) => void submit(event)}
      onKeyDown={(event) => {
        if (event.key === 'Enter' && (event.metaKey || event.ctrlKey)) event.currentTarget.requestSubmit()
      }}
      className="grid grid-cols-1 gap-x-10 gap-y-6 lg:grid-cols-[minmax(0,1fr)_20rem]"
    >
      <div className="min-w-0">
        <header className="mb-6">
          <h1 className="flex items-center gap-2">
            {textOf(name) || id}
            {visibility === 'draft' && <Badge tone="warn">Draft</Badge>}
          </h1>
          <p className="mt-0.5 max-w-prose text-dim">{textOf(description)}</p>
        </header>
        <SchemaForm
          schema={schema}
          root={schema}
          value={draft.input}
          pointer="/input"
          problems={shown}
          onTouch={(pointer) => setTouched((known) => new Set(known).add(pointer))}
          onChange={(input) => setDraft((former) => ({ ...former, input }))}
        />
        <div className="mt-6 grid grid-cols-2 items-start gap-4 border-t border-line pt-5 sm:max-w-md">
          <label className="grid gap-1.5">
            <span className="font-medium">Variants</span>
            <input
              type="number"
              min={1}
              max={10}
              className="field"
              value={draft.variants}
              onChange={({ target }) => setDraft((former) => ({ ...former, variants: target.valueAsNumber || 1 }))}
            />
            <span className="text-sm text-faint">Each is made, and paid, by itself.</span>
          </label>
          <label className="grid gap-1.5">
            <span className="font-medium">Priority</span>
            <select
              className="field"
              value={draft.priority}
              onChange={({ target }) => setDraft((former) => ({ ...former, priority: Number(target.value) }))}
            >
              <option value={90}>Somebody waits for it</option>
              <option value={50}>Normal</option>
              <option value={10}>Whenever there is room</option>
            </select>
          </label>
        </div>
      </div>
      <div className="lg:sticky lg:top-7 lg:self-start">
        <Estimate
          tried={dryRun.data?.tried ?? null}
          refused={refusal ?? (isTried ? (dryRun.error ?? dryRun.data?.refused ?? null) : dryRun.error)}
          isStale={dryRun.isFetching || settled !== spec}
          isIncomplete={problems.length > 0}
        />
        <Button type="submit" variant="primary" disabled={isBusy} className="mt-3 min-h-10 w-full">
          <Play aria-hidden className="size-4" />
          {isBusy ? 'Starting …' : 'Run'} <Kbd onFill>⌘↵</Kbd>
        </Button>
        {isTried && problems.length > 0 && (
          <p role="alert" className="mt-2 text-bad">
            {problems.length === 1 ? 'One field needs' : `${problems.length} fields need`} your attention.
          </p>
        )}
        <AsDocument spec={spec} />
      </div>
    </form>
  )
}

function startOf(key: string, schema: Schema, start: JsonObject | undefined): Draft {
  const begun = initialValue(schema, schema)
  const fresh = { input: isObject(begun) ? begun : {}, variants: 1, priority: 50 }
  if (start !== undefined) {
    const own = Object.fromEntries(Object.entries(start).filter(([name]) => !APART.includes(name)))
    return {
      ...fresh,
      input: { ...fresh.input, ...own },
      variants: typeof start.variants === 'number' ? start.variants : 1,
    }
  }
  try {
    const kept = JSON.parse(localStorage.getItem(key) ?? 'null') as Draft | null
    return kept === null ? fresh : { ...fresh, ...kept }
  } catch {
    return fresh
  }
}

function specOf(workflow: string, { input, variants, priority }: Draft): JsonObject {
  return {
    workflow,
    input: { ...input, ...(variants === 1 ? {} : { variants }) },
    // A variant that is rejected must not end the others.
    ...(variants === 1 ? {} : { fail_fast: false }),
    ...(priority === 50 ? {} : { priority }),
  }
}

function useDebounced<Value>(value: Value, ms: number): Value {
  const [settled, setSettled] = useState(value)
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), ms)
    return () => clearTimeout(timer)
  }, [value, ms])
  return settled
}

function Estimate({
  tried,
  refused,
  isStale,
  isIncomplete,
}: {
  tried: DryRun | null
  refused: Error | null
  isStale: boolean
  isIncomplete: boolean
}) {
  const paid = Map.groupBy(tried?.estimate.steps.filter(({ plan }) => plan === 'paid') ?? [], ({ step }) =>
    step.replace(/^slots\/\d+\//, ''),
  )
  const [low, high] = [tried?.estimate.low, tried?.estimate.high].map((usd) => money(usd ?? 0))
  const others = refused instanceof ApiError ? (refused.problem?.errors ?? []).filter(isOfNoField) : []
  return (
    <section aria-label="Estimate" aria-busy={isStale} className="rounded-xl border border-line bg-panel p-4">
      <h2 className="text-sm text-faint">Expected cost</h2>
      {tried === null ? (
        <p className="mt-1 text-dim">
          {isIncomplete ? 'Fill in what is required, and the price appears here.' : 'Working it out …'}
        </p>
      ) : (
        <div className={isStale ? 'opacity-60' : ''}>
          <p className="mt-0.5 text-[26px] leading-9 font-semibold tracking-tight">{money(tried.estimate.expected)}</p>
          <p className="text-sm text-faint">{low === high ? 'The price is fixed.' : `between ${low} and ${high}`}</p>
          {paid.size > 0 && (
            <ul className="mt-3 grid gap-1 border-t border-line pt-3 text-sm">
              {[...paid].map(([step, steps]) => (
                <li key={step} className="flex justify-between gap-3">
                  <span className="truncate text-dim">
                    {step}
                    {steps.length > 1 && ` × ${steps.length}`}
                  </span>
                  <span>{money(steps.reduce((sum, { expected }) => sum + expected, 0))}</span>
                </li>
              ))}
            </ul>
          )}
          {tried.warnings.map((warning) => (
            <p key={warning} className="mt-3 flex gap-2 text-sm text-warn">
              <TriangleAlert aria-hidden className="mt-0.5 size-3.5 shrink-0" />
              {warning}
            </p>
          ))}
        </div>
      )}
      {refused !== null && !(refused instanceof ApiError && refused.code === 'validation-failed') && (
        <p role="alert" className="mt-3 text-bad">
          {refused.message}
        </p>
      )}
      {others.map(({ pointer, detail }) => (
        <p key={pointer + detail} className="mt-2 text-sm text-bad">
          <code className="font-mono">{pointer}</code> {sentence(detail)}
        </p>
      ))}
    </section>
  )
}

const isOfNoField = ({ pointer }: Problem) => !pointer.startsWith('/input/')

const FORMS = ['YAML', 'JSON', 'curl'] as const

function AsDocument({ spec }: { spec: JsonObject }) {
  const [form, setForm] = useState<(typeof FORMS)[number]>('YAML')
  const [text, setText] = useState('')
  const [isCopied, setCopied] = useState(false)
  const [isOpen, setOpen] = useState(false)
  useEffect(() => {
    let isCurrent = true
    if (isOpen)
      void textAs(form, spec).then((made) => {
        if (isCurrent) setText(made)
      })
    return () => {
      isCurrent = false
    }
  }, [form, spec, isOpen])
  return (
    <details className="mt-4" onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
      <summary className="text-sm text-dim hover:text-ink">The same as a document or a command</summary>
      <div className="mt-2 rounded-lg border border-line bg-panel">
        <div className="flex items-center gap-1 border-b border-line p-1">
          {FORMS.map((one) => (
            <button
              key={one}
              type="button"
              aria-pressed={one === form}
              onClick={() => setForm(one)}
              className={`rounded px-2 text-sm ${one === form ? 'bg-raised text-ink' : 'text-dim'}`}
            >
              {one}
            </button>
          ))}
          <button
            type="button"
            aria-label="Copy"
            className="ml-auto grid size-7 place-items-center rounded text-dim hover:bg-raised"
            onClick={() => {
              void navigator.clipboard.writeText(text).then(() => {
                setCopied(true)
                setTimeout(() => setCopied(false), 1_500)
              })
            }}
          >
            {isCopied ? <Check aria-hidden className="size-3.5" /> : <Copy aria-hidden className="size-3.5" />}
          </button>
        </div>
        <pre tabIndex={0} className="max-h-64 overflow-auto p-3 font-mono text-xs">
          {text}
        </pre>
      </div>
    </details>
  )
}

async function textAs(form: (typeof FORMS)[number], spec: JsonObject): Promise<string> {
  const json = JSON.stringify(spec, null, 2)
  if (form === 'JSON') return json
  if (form === 'YAML') return (await import('yaml')).stringify(spec)
  const quoted = `'${json.replaceAll("'", `'\\''`)}'`
  return `curl -H "Authorization: Bearer $FABRIQUE_API_KEY" \\\n  -H 'Content-Type: application/json' \\\n  ${location.origin}/v1/workflows/runs \\\n  -d ${quoted}`
}
