// A run as a person or a script reads it: a line per event while it goes on, then files, cost and an exit code.
// Hides colours and wording. Results go to stdout, everything else to stderr.
import type { JsonValue, RunEvent, RunResource } from '@fabrique/schema'
import type { Context } from './context.ts'
import { EXIT } from './exit.ts'

/** Prints each event as one line with the seconds since this was made. */
export function createProgress(say: (line: string) => void): (event: RunEvent) => void {
  const startedAt = performance.now()
  const hasColour = process.stderr.isTTY === true && !process.env.NO_COLOR
  const dim = (text: string) => (hasColour ? `\u001b[2m${text}\u001b[0m` : text)
  return (event) => {
    const seconds = `${((performance.now() - startedAt) / 1000).toFixed(1).padStart(6)} s`
    const name = event.kind.replace(/^workflow\./, '').padEnd(18)
    say(`${dim(seconds)}  ${name} ${[event.node_key, noteOn(event)].filter(Boolean).join('  ')}`.trimEnd())
  }
}

function noteOn({ kind, payload }: RunEvent): string {
  if (kind === 'workflow.artifact.created') return `${words(payload.role)} (${words(payload.mime_type)})`
  const error = payload.error
  if (typeof error === 'object' && error !== null && 'message' in error) return words(error.message)
  return payload.simulated === true && kind === 'workflow.node.completed' ? '(simulated)' : ''
}

function words(value: JsonValue | undefined): string {
  return typeof value === 'string' ? value : ''
}

/** Sees a run through, from its event `after` on, and reports it; answers the exit code of how it ended. */
export async function followAndReport(context: Context, runId: string, after = 0): Promise<number> {
  const backend = await context.backend()
  const run = await backend.follow(runId, after, createProgress(context.say))
  const artifacts = await backend.artifacts(run)
  const { say, print } = context

  if (run.error !== null) say(`The run failed: ${run.error.message}`)
  if (run.status === 'cancelled') say('The run was cancelled.')
  if (run.simulated) {
    say('Simulated: built-in simulators stood in for providers; they call no model and bill nothing.')
    say('Set OPENAI_API_KEY and FAL_KEY (and leave FABRIQUE_PROVIDERS alone) to use the real ones.')
  }
  say(`Cost: ${costOf(run)}`)
  if (run.status === 'waiting') {
    say(`Run ${run.id} waits for your review of these files. Go on with:`)
    const where = context.apiUrl === undefined ? '' : ` --api-url ${context.apiUrl}`
    say(`  fab-workflow approve ${run.id}${where}`)
    say(`  fab-workflow reject ${run.id}${where}`)
  }
  if (context.json) print(JSON.stringify(run, null, 2))
  else for (const { place } of artifacts) print(place)
  return exitCodeOf(run)
}

/** What it cost, in words. */
export function costOf({ cost, simulated }: RunResource): string {
  const note = simulated ? '; simulated calls are not billed' : ''
  return `$${cost.actual} (estimated $${cost.estimated}${note})`
}

/** The exit code that says how a run stands. */
export function exitCodeOf(run: RunResource): number {
  switch (run.status) {
    case 'completed':
      return run.partial ? EXIT.partial : EXIT.done
    case 'failed':
      return EXIT.runFailed
    case 'cancelled':
      return EXIT.cancelled
    case 'waiting':
      return EXIT.review
    default:
      return EXIT.done
  }
}

/** Rows as columns, each as wide as its widest cell; the last one is not padded. */
export function columns(rows: readonly string[][]): string[] {
  const widths = (rows[0] ?? []).map((_, index) => Math.max(...rows.map((row) => row[index]?.length ?? 0)))
  return rows.map((row) =>
    row.map((cell, index) => (index === row.length - 1 ? cell : cell.padEnd(widths[index] ?? 0))).join('  '),
  )
}
