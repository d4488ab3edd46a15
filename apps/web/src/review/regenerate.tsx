// Another try of a run with a direction, as a child of it.
import type { Review, RunResource, RunStep } from '@fabrique/schema'
import { useQuery } from '@tanstack/react-query'
import { type FormEvent, useState } from 'react'
import { api } from '../api/http.ts'
import { stepsQuery } from '../api/queries.ts'
import { Button, Dialog } from '../ui/parts.tsx'
import { showToast } from '../ui/toasts.tsx'

type Parent = Pick<Review, 'run_id' | 'workflow' | 'input' | 'metadata'>

export function RegenerateDialog({
  parent,
  open,
  onClose,
  onStarted,
}: {
  parent: Parent
  open: boolean
  onClose: () => void
  onStarted?: () => void
}) {
  return (
    <Dialog open={open} title="Generate it again" onClose={onClose}>
      <Form parent={parent} onClose={onClose} {...(onStarted === undefined ? {} : { onStarted })} />
    </Dialog>
  )
}

function Form({ parent, onClose, onStarted }: { parent: Parent; onClose: () => void; onStarted?: () => void }) {
  const { data: steps = [] } = useQuery(stepsQuery(parent.run_id))
  const [direction, setDirection] = useState('')
  const [keep, setKeep] = useState<string[]>([])
  const [doesReject, setRejects] = useState(onStarted !== undefined)
  const [problem, setProblem] = useState<string | null>(null)
  const [isBusy, setBusy] = useState(false)
  const done = steps.filter(({ status, kind }: RunStep) => status === 'completed' && kind !== 'slot')

  async function submit(event: FormEvent): Promise<void> {
    event.preventDefault()
    setBusy(true)
    const { variants: _one, ...input } = parent.input
    try {
      const child = await api<RunResource>('/v1/workflows/runs', {
        body: {
          workflow: parent.workflow,
          metadata: parent.metadata,
          parent: { run_id: parent.run_id },
          input: {
            ...input,
            regenerate: { ...(direction === '' ? {} : { direction }), ...(keep.length === 0 ? {} : { keep }) },
          },
        },
      })
      showToast({ id: child.id, text: 'Another try is on its way; it comes back here for review.' })
      if (doesReject) onStarted?.()
      onClose()
    } catch (error) {
      setProblem((error as Error).message)
      setBusy(false)
    }
  }

  return (
    <form className="grid gap-4" onSubmit={(event) => void submit(event)}>
      <label className="grid gap-1.5">
        <span className="font-medium">What should be different?</span>
        <textarea
          autoFocus
          rows={3}
          value={direction}
          onChange={({ target }) => setDirection(target.value)}
          placeholder="Warmer colours, and the scarf in red"
          className="field"
        />
      </label>
      {done.length > 0 && (
        <fieldset className="grid gap-1">
          <legend className="mb-1 font-medium">Keep, and do not pay again</legend>
          {done.map(({ id, name }) => (
            <label key={id} className="flex items-center gap-2">
              <input
                type="checkbox"
                checked={keep.includes(id)}
                onChange={({ target }) => setKeep(target.checked ? [...keep, id] : keep.filter((one) => one !== id))}
                className="size-4 accent-[var(--accent-fill)]"
              />
              {name ?? id}
            </label>
          ))}
        </fieldset>
      )}
      {onStarted !== undefined && (
        <label className="flex items-center gap-2 border-t border-line pt-3">
          <input
            type="checkbox"
            checked={doesReject}
            onChange={({ target }) => setRejects(target.checked)}
            className="size-4 accent-[var(--accent-fill)]"
          />
          Reject this one
        </label>
      )}
      {problem !== null && (
        <p role="alert" className="text-bad">
          {problem}
        </p>
      )}
      <div className="flex justify-end gap-2">
        <Button onClick={onClose}>Cancel</Button>
        <Button type="submit" variant="primary" disabled={isBusy}>
          Generate again
        </Button>
      </div>
    </form>
  )
}
