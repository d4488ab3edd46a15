// Short messages at the edge, some with one thing to do.
import { X } from 'lucide-react'
import { useSyncExternalStore } from 'react'

export interface Toast {
  id: string
  text: string
  tone?: 'neutral' | 'bad'
  /** A bar runs out in this time. */
  lastsMs?: number
  action?: { label: string; run(): void }
}

let toasts: readonly Toast[] = []
const listeners = new Set<() => void>()

function set(next: readonly Toast[]): void {
  toasts = next
  for (const listener of listeners) listener()
}

/** Shows it, in the place of one with the same id; without an action it goes by itself. */
export function showToast(toast: Toast): void {
  set([...toasts.filter(({ id }) => id !== toast.id), toast].slice(-4))
  if (toast.action === undefined) setTimeout(() => hideToast(toast.id, toast), toast.lastsMs ?? 6_000)
}

export function hideToast(id: string, only?: Toast): void {
  set(toasts.filter((toast) => toast.id !== id || (only !== undefined && toast !== only)))
}

export function Toasts() {
  const shown = useSyncExternalStore(
    (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    () => toasts,
  )
  return (
    <div
      role="status"
      aria-live="polite"
      className="pointer-events-none fixed inset-x-3 top-16 z-40 flex flex-col items-center gap-2 md:top-4 md:right-4 md:left-auto md:items-end"
    >
      {shown.map(({ id, text, tone, action, lastsMs }) => (
        <div
          key={id}
          className="pointer-events-auto relative flex max-w-full items-center gap-3 overflow-hidden rounded-lg border border-strong-line bg-panel py-1.5 pr-1.5 pl-3.5 shadow-lg"
        >
          <span className={`min-w-0 break-words ${tone === 'bad' ? 'text-bad' : ''}`}>{text}</span>
          {action === undefined ? (
            <button
              type="button"
              aria-label="Dismiss"
              onClick={() => hideToast(id)}
              className="grid size-7 shrink-0 place-items-center rounded-md text-faint hover:bg-raised"
            >
              <X aria-hidden className="size-3.5" />
            </button>
          ) : (
            <button
              type="button"
              onClick={action.run}
              className="shrink-0 rounded-md px-2 py-1 font-medium text-accent hover:bg-accent-soft"
            >
              {action.label}
            </button>
          )}
          {action !== undefined && lastsMs !== undefined && (
            <span
              aria-hidden
              className="absolute bottom-0 left-0 h-0.5 w-full origin-left bg-accent"
              style={{ animation: `run-out ${lastsMs}ms linear forwards` }}
            />
          )}
        </div>
      ))}
    </div>
  )
}
