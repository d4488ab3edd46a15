// The small parts that every screen is made of.
import type { RunStatus } from '@fabrique/schema'
import { CircleAlert, Loader2, Lock, type LucideIcon } from 'lucide-react'
import { type ComponentProps, type ReactNode, useEffect, useRef } from 'react'
import { ApiError } from '../api/http.ts'

const VARIANTS = {
  primary: 'bg-accent-fill text-white hover:brightness-110 border-transparent',
  plain: 'bg-panel text-ink border-strong-line hover:bg-raised',
  ghost: 'bg-transparent text-dim border-transparent hover:bg-raised hover:text-ink',
  danger: 'bg-panel text-bad border-strong-line hover:bg-bad-soft',
}

export function buttonClass(variant: keyof typeof VARIANTS = 'plain'): string {
  return `inline-flex min-h-8 items-center justify-center gap-1.5 whitespace-nowrap rounded-md border px-3 text-base font-medium disabled:opacity-50 ${VARIANTS[variant]}`
}

export function Button({
  variant = 'plain',
  className = '',
  ...rest
}: ComponentProps<'button'> & { variant?: keyof typeof VARIANTS }) {
  return <button type="button" className={`${buttonClass(variant)} ${className}`} {...rest} />
}

export function Kbd({ children, onFill = false }: { children: ReactNode; onFill?: boolean }) {
  const colors = onFill ? 'border-white/40 text-white' : 'border-strong-line text-dim'
  return (
    <kbd
      className={`hidden min-w-4 rounded border px-1 text-center font-sans text-xs leading-4 sm:inline-block ${colors}`}
    >
      {children}
    </kbd>
  )
}

const TONES = {
  neutral: 'bg-raised text-dim',
  accent: 'bg-accent-soft text-accent',
  good: 'bg-good-soft text-good',
  warn: 'bg-warn-soft text-warn',
  bad: 'bg-bad-soft text-bad',
}
export type Tone = keyof typeof TONES

export function Badge({ tone = 'neutral', children, title }: { tone?: Tone; children: ReactNode; title?: string }) {
  return (
    <span
      title={title}
      className={`inline-flex items-center gap-1 whitespace-nowrap rounded px-1.5 text-xs font-medium leading-5 ${TONES[tone]}`}
    >
      {children}
    </span>
  )
}

export const STATUS_TONES: Record<RunStatus | 'skipped', Tone> = {
  pending: 'neutral',
  running: 'accent',
  waiting: 'warn',
  completed: 'good',
  failed: 'bad',
  cancelled: 'neutral',
  skipped: 'neutral',
}
const STATUS_WORDS: Record<RunStatus | 'skipped', string> = {
  pending: 'Queued',
  running: 'Running',
  waiting: 'Waits for review',
  completed: 'Completed',
  failed: 'Failed',
  cancelled: 'Cancelled',
  skipped: 'Skipped',
}

export function StatusBadge({ status }: { status: RunStatus | 'skipped' }) {
  return (
    <Badge tone={STATUS_TONES[status]}>
      {status === 'running' && <Loader2 aria-hidden className="size-3 animate-spin" />}
      {STATUS_WORDS[status]}
    </Badge>
  )
}

/** No provider was asked: said wherever an amount or a picture could be taken for a real one. */
export function SimulatedBadge() {
  return <Badge title="Made by a built-in simulator: nothing was charged.">Simulated</Badge>
}

export function PageHead({ title, children, lead }: { title: ReactNode; lead?: ReactNode; children?: ReactNode }) {
  return (
    <header className="mb-5 flex flex-wrap items-start justify-between gap-x-4 gap-y-3">
      <div className="min-w-0">
        <h1>{title}</h1>
        {lead !== undefined && <div className="mt-0.5 text-dim">{lead}</div>}
      </div>
      {children}
    </header>
  )
}

/** Nothing here yet, and what to do about it. */
export function Empty({
  icon: Icon,
  title,
  children,
  action,
}: {
  icon: LucideIcon
  title: string
  children: ReactNode
  action?: ReactNode
}) {
  return (
    <div className="mx-auto flex max-w-sm flex-col items-center px-4 py-20 text-center">
      <span className="mb-4 grid size-11 place-items-center rounded-xl border border-line bg-panel text-faint">
        <Icon aria-hidden className="size-5" />
      </span>
      <h2 className="text-lg">{title}</h2>
      <p className="mt-1 text-dim">{children}</p>
      {action !== undefined && <div className="mt-5 flex gap-2">{action}</div>}
    </div>
  )
}

/** Why there is nothing to see, and the next thing to do. */
export function Failure({ error, retry }: { error: Error; retry?: () => void }) {
  const status = error instanceof ApiError ? error.status : 0
  const problem = error instanceof ApiError ? error.problem : null
  if (status === 403)
    return (
      <Empty icon={Lock} title="Not with this key">
        {error.message} Sign in with another key, or ask an admin of your organization for one.
      </Empty>
    )
  if (status === 404)
    return (
      <Empty icon={CircleAlert} title="There is no such thing here">
        It does not exist, or it belongs to another organization than the key that you are signed in with.
      </Empty>
    )
  return (
    <div role="alert">
      <Empty
        icon={CircleAlert}
        title={problem?.title ?? 'This could not be loaded'}
        action={retry !== undefined && <Button onClick={retry}>Try again</Button>}
      >
        {error.message}
        {problem?.request_id !== undefined && (
          <span className="mt-2 block font-mono text-xs text-faint">request {problem.request_id}</span>
        )}
      </Empty>
    </div>
  )
}

export function Loading({ rows = 6, className = 'h-12' }: { rows?: number; className?: string }) {
  return (
    <div role="status" aria-label="Loading" className="grid gap-2">
      {Array.from({ length: rows }, (_, index) => (
        <div key={index} className={`skeleton ${className}`} />
      ))}
    </div>
  )
}

/** What stands in a field of the form. */
export function textIn(form: HTMLFormElement, name: string): string {
  const value = new FormData(form).get(name)
  return typeof value === 'string' ? value.trim() : ''
}

/** A dialog of the browser: it keeps the focus inside and closes by Escape. */
export function Dialog({
  open,
  title,
  wide = false,
  onClose,
  children,
}: {
  open: boolean
  title: string
  wide?: boolean
  onClose: () => void
  children: ReactNode
}) {
  const ref = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    if (open) ref.current?.showModal()
    else ref.current?.close()
  }, [open])
  return (
    <dialog
      ref={ref}
      aria-label={title}
      onClose={onClose}
      onClick={(event) => {
        if (event.target === ref.current) onClose()
      }}
      className={`m-auto rounded-xl outline-none border border-line bg-panel p-0 shadow-2xl ${wide ? 'w-[min(64rem,calc(100vw-2rem))]' : 'w-[min(30rem,calc(100vw-2rem))]'}`}
    >
      {open && (
        <div className="p-5">
          <h2 className="mb-3 text-lg">{title}</h2>
          {children}
        </div>
      )}
    </dialog>
  )
}

/** One line of a description list. */
export function Fact({ term, children }: { term: string; children: ReactNode }) {
  return (
    <div>
      <dt className="text-sm text-faint">{term}</dt>
      <dd className="mt-0.5 break-words">{children}</dd>
    </div>
  )
}

/** Where a list leads that shows some of its kinds, and which of them is shown. */
export function tabClass(isCurrent: boolean): string {
  return `rounded-md px-2.5 py-1 ${isCurrent ? 'bg-accent-soft font-medium text-accent' : 'text-dim hover:bg-raised hover:text-ink'}`
}

/** A choice of one workflow, or of all (undefined). */
export function WorkflowSelect({
  options,
  value,
  onChange,
}: {
  options: { id: string; title: string }[]
  value: string | undefined
  onChange: (workflow: string | undefined) => void
}) {
  return (
    <select
      aria-label="Workflow"
      className="field w-full sm:w-64"
      value={value ?? ''}
      onChange={({ target }) => onChange(target.value || undefined)}
    >
      <option value="">All workflows</option>
      {options.map(({ id, title }) => (
        <option key={id} value={id}>
          {title}
        </option>
      ))}
    </select>
  )
}
