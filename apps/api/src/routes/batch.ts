// Many run-specs in one request, one a line, each accepted or refused by itself; answers stream back in order.
// Hides how much of a batch is in memory at once: a window of its lines, and the answers that were not read yet.
import { BatchLine, DOCUMENT_LIMITS, errorRow, FabriqueError, parseDocument, type Problem } from '@fabrique/schema'
import type { Context } from 'hono'
import { z } from 'zod'
import type { AppDeps } from '../deps.ts'
import { answersInOrder } from '../answers-in-order.ts'
import { locatedIn, refuseCompressed, unreadable } from '../body.ts'
import { asFabriqueError, problemDocument } from '../errors.ts'
import { idempotencyKeyOf } from '../request-headers.ts'
import { type Line, readLines } from '../lines.ts'
import { type ApiContext, type Call, operator, type Route } from '../route.ts'

const MEDIA_TYPE = 'application/x-ndjson'
/** What programs call files of JSON lines; there is no registered name. `text/plain` is not one: forms can send that. */
const MEDIA_TYPES =
  /^(?:application|text)\/(?:x-)?(?:ndjson|jsonl|json-?lines|json-l|ldjson) *(?:; *charset="?utf-?8"? *)?$/i
const ONE_A_LINE =
  "A batch is one whole run-spec a line, without brackets around them or commas between them; jq -c '.[]' makes lines of an array."
/** Enough lines to fill the multi-row writes, which take a hundred; fewer where they are long. */
const WINDOW = {
  itemsMax: 256,
  weightMax: 4 * 1024 * 1024,
  weightOf: ({ bytes }: Line) => bytes?.byteLength ?? 0,
}
/**
 * Answers that a client has not read yet. Until then it may write on without reading: some 200,000 accepted lines, or
 * 30,000 refused ones. Beyond, no further line is read until it reads.
 */
const UNREAD_ANSWERS_BYTES = 16 * 1024 * 1024
/** So that an answer stays small however much is wrong with its line. */
const PROBLEMS_PER_LINE = 10

type BatchDeps = Pick<AppDeps, 'log' | 'quotas' | 'submitter'>

export function batchRoutes(deps: BatchDeps): Route[] {
  return [
    operator.post('submitBatch', '/v1/workflows/runs/batch', {
      summary: 'Submit many run-specs, one a line; answers one line for each, in order',
      body: z.string().describe('One run-spec a line, as JSON, at most 1 MiB each.'),
      bodyTypes: [MEDIA_TYPE, 'application/jsonl'],
      answers: { 200: { [MEDIA_TYPE]: BatchLine } },
      headers: ['Idempotency-Key'],
      handle: ({ c, principal }) => batch(deps, c, principal),
    }),
  ]
}

function batch(deps: BatchDeps, c: Context<ApiContext>, principal: Call<never>['principal']): Response {
  if (!MEDIA_TYPES.test(c.req.header('content-type') ?? ''))
    throw new FabriqueError(
      'unsupported-media-type',
      `Send ${MEDIA_TYPE} or application/jsonl, in UTF-8. ${ONE_A_LINE}`,
    )
  refuseCompressed(c)
  const key = idempotencyKeyOf(c)

  async function submit({ number, bytes }: Line): Promise<string> {
    try {
      const outcome = await submitLine(bytes, number)
      const runId = outcome.outcome === 'accepted' ? outcome.run.id : outcome.runId
      const replayed = outcome.outcome === 'replayed' ? { replayed: true as const } : {}
      return answer({ line: number, run_id: runId, ...replayed })
    } catch (thrown) {
      const error = asFabriqueError(thrown)
      if (errorRow(error.code).status >= 500)
        deps.log.error({ request_id: c.get('requestId'), line: number, err: error.cause ?? error }, 'a line failed')
      return answer({ line: number, error: problemDocument(onLine(error, number), c.get('requestId')) })
    }
  }

  async function submitLine(bytes: Uint8Array | null, number: number) {
    if (bytes === null) throw new FabriqueError('body-too-large', 'The line is larger than 1 MiB.')
    await deps.quotas.takeSubmit(principal.organizationId)
    const parsed = parseDocument(bytes, 'json')
    if (!parsed.ok) throw explained(unreadable(parsed))
    if (Array.isArray(parsed.document.value))
      throw explained(new FabriqueError('validation-failed', 'The line is a list.'))
    const outcome = await deps.submitter
      .submit({
        organizationId: principal.organizationId,
        admin: principal.role === 'admin',
        document: parsed.document.value,
        ...(key === undefined ? {} : { idempotencyKey: lineKey(key, number) }),
      })
      .catch(locatedIn(parsed.document))
    if (outcome.outcome === 'dry-run') throw new Error('a line was only tried')
    return outcome
  }

  const { body } = c.req.raw
  const headers = { 'content-type': MEDIA_TYPE }
  if (body === null) return c.body('', 200, headers)
  const answers = answersInOrder(readLines(body, DOCUMENT_LIMITS.bodyBytes), submit, WINDOW)
  return c.body(toStream(answers), 200, headers)
}

/** The key of one line. Callers' own keys have no spaces, so none can be that of a line. */
function lineKey(key: string, number: number): string {
  return `${key} line ${number}`
}

/** Where a line is no document at all, the file is often an array, or documents over several lines. */
function explained({ code, message, problems }: FabriqueError): FabriqueError {
  return new FabriqueError(code, `${message}${message.endsWith('.') ? '' : '.'} ${ONE_A_LINE}`, { problems })
}

function answer(line: BatchLine): string {
  return `${JSON.stringify(line)}\n`
}

/** What is wrong with a line stands on that line of the whole body. */
function onLine(error: FabriqueError, number: number): FabriqueError {
  const problems = error.problems
    .slice(0, PROBLEMS_PER_LINE)
    .map((problem): Problem => (problem.line === undefined ? problem : { ...problem, line: number }))
  return new FabriqueError(error.code, error.message, { problems })
}

/** As bytes, produced ahead of the reader up to the bound. Ends early where the client's body breaks off. */
function toStream(answers: AsyncGenerator<string, void, void>): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await answers.next()
        if (done === true) controller.close()
        else controller.enqueue(encoder.encode(value))
      },
      async cancel() {
        await answers.return()
      },
    },
    { highWaterMark: UNREAD_ANSWERS_BYTES, size: (chunk) => chunk.byteLength },
  )
}
