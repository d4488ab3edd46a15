// `approve` and `reject`: every review that holds the run up now, or the one that is named.
// Hides that a run can be held up in several places; a review that opens later was not seen, and is not decided.
import { FabriqueError, isTerminal, nearestKey } from '@fabrique/schema'
import { type Backend, isHeldBy, type OpenReview, openReviewsOf } from './backend.ts'
import { InvalidRequest } from './failure.ts'

/** A gate whose time is over stays open until its run is looked at, and takes no decision. */
const TRIES_MAX = 5

export interface ReviewDecision {
  decision: 'approve' | 'reject'
  /** Id or name; default: all but those about lost calls. */
  gate: string | undefined
  comment: string | undefined
}

/**
 * Decides the run's open reviews, one after another; answers the seq of the last event before, from which the run still
 * has to be followed. Throws `no-open-gate` where there is none, and `InvalidRequest` where none is the named one.
 */
export async function decideReviews(
  backend: Backend,
  runId: string,
  { decision, gate, comment }: ReviewDecision,
  say: (line: string) => void,
): Promise<number> {
  const open = openReviewsOf(await backend.get(runId))
  const wanted = open.filter(({ id, name, price }) =>
    gate === undefined ? price === undefined : id === gate || name === gate,
  )
  if (gate !== undefined && open.length > 0 && wanted.length === 0) throw unknownGate(gate, runId, open)
  const before = (await backend.events(runId, 0)).at(-1)?.seq ?? 0
  const decided: OpenReview[] = []
  for (const review of wanted) if (await decide(backend, review, decision, comment)) decided.push(review)
  if (decided.length === 0) {
    const [lost] = open.filter(({ price }) => price !== undefined)
    if (gate === undefined && lost !== undefined) {
      const remedy = `Decide about it by name: fab-workflow ${decision} ${runId} --gate ${lost.id}`
      throw new FabriqueError('gate-by-name', `${lost.price} ${remedy}`)
    }
    throw new FabriqueError(
      'no-open-gate',
      `Run ${runId} has no review open for a decision, or it was decided already; see: fab-workflow status ${runId}`,
    )
  }
  if (open.length > 1) {
    say(`${decision === 'approve' ? 'Approved' : 'Rejected'} ${decided.length} of ${open.length} open reviews:`)
    for (const line of reviewLines(decided)) say(`  ${line}`)
  }
  return before
}

/** Decides a review as soon as its run takes it; false where somebody else did, or it is over. */
async function decide(
  backend: Backend,
  review: OpenReview,
  decision: ReviewDecision['decision'],
  comment: string | undefined,
) {
  for (let tries = 0; tries < TRIES_MAX; tries += 1) {
    if (await backend.decide(review, decision, comment)) return true
    const run = await backend.get(review.runId)
    if (!isHeldBy(run, review.id) || isTerminal(run.status)) return false
    // Woken by the decision before this one, it has to come to rest first.
    await backend.comeToRest(review.runId)
  }
  return false
}

/** A line for each review: which it is, and the run that it holds up. */
export function reviewLines(reviews: readonly OpenReview[]): string[] {
  return reviews.map(
    ({ id, name, runId, price }) =>
      `${name === id ? id : `${id} (${name})`} of run ${runId}${price === undefined ? '' : `: ${price}`}`,
  )
}

function unknownGate(gate: string, runId: string, open: readonly OpenReview[]): InvalidRequest {
  const ids = [...new Set(open.map(({ id }) => id))]
  const near = nearestKey(gate, ids)
  const remedy = near === undefined ? `open are ${ids.join(', ')}` : `did you mean "${near}"?`
  return new InvalidRequest(`--gate ${gate}: run ${runId} has no such review open; ${remedy}`)
}
