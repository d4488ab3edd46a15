// A run as a person or a script reads it: what goes on while it goes on, then files, cost and an exit code.
// Hides wording. Results go to stdout, everything else to stderr.
import { slotKey } from '@fabrique/engine/unit-key'
import { type EstimateResource, jsonOnTerminal, type RunResource, type RunStatus } from '@fabrique/schema'
import stringWidth from 'string-width'
import { type Backend, openReviewsOf } from './backend.ts'
import type { Context } from './context.ts'
import { reviewLines } from './decide-reviews.ts'
import { fit, openDisplay } from './display.ts'
import { EXIT } from './exit.ts'

/** What says how a run stands. */
const EXIT_CODES: Partial<Record<RunStatus, number>> = {
  failed: EXIT.runFailed,
  cancelled: EXIT.cancelled,
  waiting: EXIT.review,
}

/** Follows a run that was just submitted, or names it where a server goes on with it alone. */
export async function handOver(context: Context, runId: string, isWatched: boolean): Promise<number> {
  if (context.apiUrl === undefined || isWatched) {
    context.say(`Run ${runId}`)
    return await followAndReport(context, runId)
  }
  const resource = context.json ? await (await context.backend()).get(runId) : undefined
  await context.show(resource, () => [runId])
  return EXIT.done
}

/** Sees a run through, from its event `after` on, and reports it; answers the exit code of how it ended. */
export async function followAndReport(context: Context, runId: string, after = 0): Promise<number> {
  const backend = await context.backend()
  const run = await follow(context, runId, after)
  const artifacts = await backend.artifacts(run)
  const { say } = context

  if (run.error !== null) say(`The run failed: ${run.error.message}`)
  if (run.status === 'cancelled') say('The run was cancelled.')
  if (run.partial) say(`Partly done: ${run.summary.completed} of ${run.summary.total} slots completed.`)
  if (run.simulated) {
    sayItIsSimulated(say)
    say('To use real ones, set OPENAI_API_KEY and FAL_KEY and leave FABRIQUE_PROVIDERS.')
  }
  say(`Cost: ${costOf(run)}`)
  if (run.status === 'waiting') {
    const reviews = openReviewsOf(run)
    if (reviews.length > 1) {
      say(`${reviews.length} reviews are open; approve and reject decide all of them, --gate or a run's id fewer:`)
      for (const line of reviewLines(reviews)) say(`  ${line}`)
    }
    const lost = reviews.filter(({ price }) => price !== undefined)
    for (const { id, price } of lost) say(`${price} Only --gate ${id} decides about it.`)
    const gate = lost.length < reviews.length ? '' : ` --gate ${lost[0]?.id}`
    say(`Run ${run.id} waits for your ${gate === '' ? 'review' : 'decision'}. Go on with:`)
    say(`  ${context.hint(`approve ${run.id}${gate}`)}`)
    say(`  ${context.hint(`reject ${run.id}${gate}`)}`)
  }
  await context.show(run, () => {
    if (artifacts.length > 0) return artifacts.map(({ place }) => place)
    return run.outputs.flatMap(({ output }) => (output === null ? [] : jsonOnTerminal(output, 2).split('\n')))
  })
  return run.status === 'completed' && run.partial ? EXIT.partial : (EXIT_CODES[run.status] ?? EXIT.done)
}

/** Follows a run with a display of how far it is. */
async function follow(context: Context, runId: string, after: number): Promise<RunResource> {
  const backend = await context.backend()
  const display = openDisplay({
    say: context.say,
    steps: () => outlineOf(backend, runId),
    cost: async () => {
      const { cost } = await backend.get(runId)
      return `$${cost.actual} of about $${cost.estimated}`
    },
  })
  try {
    return await backend.follow(runId, after, display.hear)
  } finally {
    await display.close()
  }
}

/** What has a line of its own: the slots of a run that has several, else its steps. */
async function outlineOf(backend: Backend, runId: string): ReturnType<Backend['steps']> {
  const { outputs } = await backend.get(runId)
  if (outputs.length < 2) return await backend.steps(runId)
  return outputs.map(({ index, workflow, variant_index: variant }) => ({
    id: slotKey(index),
    name: variant === null ? workflow : `variant ${variant}`,
  }))
}

/** Says that what was made is no model's work; in lines that fit 80 columns. */
export function sayItIsSimulated(say: (line: string) => void): void {
  say('Simulated: built-in simulators stood in for providers.')
  say('They call no model and bill nothing.')
}

/** What it cost, in words. */
export function costOf({ cost, simulated }: Pick<RunResource, 'cost' | 'simulated'>): string {
  const note = simulated ? '; simulated calls are not billed' : ''
  return `$${cost.actual} (estimated $${cost.estimated}${note})`
}

/** An estimate as lines: the sum, and each step. */
export function estimateLines({ expected, low, high, pricing_version: version, steps }: EstimateResource): string[] {
  const range = low === high ? '' : `, between $${low} and $${high}`
  const rows = steps.map((step) => [`  ${step.step}`, step.kind, `$${step.expected}`])
  return [`estimate: $${expected}${range} (prices of ${version})`, ...columns(rows)]
}

/** Rows as columns, each as wide as its widest cell; the last one is not padded. */
export function columns(rows: readonly string[][]): string[] {
  const widths = (rows[0] ?? []).map((_, index) => Math.max(...rows.map((row) => stringWidth(row[index] ?? ''))))
  return rows.map((row) =>
    row
      .map((cell, index) => (index === row.length - 1 ? cell : fit(cell, widths[index] ?? 0)))
      .join('  ')
      .trimEnd(),
  )
}
