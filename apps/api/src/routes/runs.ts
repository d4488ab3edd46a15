// Runs: submit, look, steer. Everything below belongs to the key's own organization.
import {
  DECISION_GATE,
  DryRun,
  type ErrorCode,
  FabriqueError,
  isTerminal,
  LedgerEntry,
  list,
  ListedRun,
  page,
  publishedSchema,
  Receipt,
  RUN_PAYLOADS,
  RunId,
  RunResource,
  RunStatusSchema,
  RunStep,
  runUrls,
  Specification,
  WorkflowId,
} from '@fabrique/schema'
import { acceptedResource } from '@fabrique/db'
import {
  cancelRun,
  estimateResource,
  receiptOf,
  resolvedPrompts,
  retryRun,
  specificationDocument,
} from '@fabrique/engine'
import type { Context } from 'hono'
import { z } from 'zod'
import type { AppDeps } from '../deps.ts'
import { locatedIn, parseBody, readDocument } from '../body.ts'
import { found, notFound, orNotFound } from '../found.ts'
import { idempotencyKeyOf } from '../request-headers.ts'
import { filledPage, pageOf, paging } from '../paging.ts'
import { type ApiContext, type Call, operator, type Route } from '../route.ts'
import { waitForEnd } from '../wait-for-end.ts'

/** What a run-spec can be refused for once its document is whole. */
export const SUBMIT_PROBLEMS: readonly ErrorCode[] = [
  'not-found',
  'not-runnable',
  'budget-exceeded',
  'provider-key-missing',
  'tool-unavailable',
  'model-retired',
  'idempotency-mismatch',
]

/** The members of a run filter, as the query of a list and in documents. */
export const RUN_FILTER = {
  status: RunStatusSchema.optional(),
  workflow: WorkflowId.optional(),
  parent_run_id: RunId.optional(),
  root_run_id: RunId.optional(),
  metadata: z.record(z.string(), z.string()).optional(),
  created_after: z.iso.datetime({ offset: true }).optional(),
  created_before: z.iso.datetime({ offset: true }).optional(),
}
const Fields = z
  .string()
  .max(100)
  .transform((text) => text.split(','))
  .pipe(z.array(z.enum(RUN_PAYLOADS)))
  .describe(
    `What else each run shall have, by commas: ${RUN_PAYLOADS.join(', ')}. Such pages may be shorter than \`limit\`.`,
  )
const Submission = z.strictObject({
  name: z.string().max(128).optional().describe('The workflow, where the run-spec does not name it.'),
  version: z.string().max(20).optional().describe('A published version; default: the current one.'),
  dry_run: z.enum(['true', 'false']).optional().describe('`true`: nothing is stored or spent.'),
})
const Review = z.strictObject({
  decision: z
    .enum(['approve', 'reject', 'call-again', 'give-up'])
    .describe('The last two are for gates of the type `unknown-outcome`, and only for them.'),
  comment: z.string().max(4000).optional(),
  gate: z.string().max(200).optional().describe('Its id; needed where several are open, and for an unknown outcome.'),
})

type RunDeps = Pick<
  AppDeps,
  'authoring' | 'catalog' | 'submitter' | 'reader' | 'runs' | 'queue' | 'news' | 'ids' | 'stopping'
>

export function runRoutes(deps: RunDeps): Route[] {
  const { authoring, catalog, submitter, reader, runs, queue } = deps

  async function own({ principal, param }: Pick<Call<never>, 'principal' | 'param'>): Promise<RunResource> {
    return orNotFound(await reader.get(principal.organizationId, param('id')), 'run')
  }

  async function submit({ c, principal, query }: Call<z.infer<typeof Submission>>) {
    const idempotencyKey = idempotencyKeyOf(c)
    const waitS = preferredWait(c)
    const document = await readDocument(c)
    const outcome = await submitter
      .submit({
        organizationId: principal.organizationId,
        admin: principal.role === 'admin',
        document: document.value,
        ...(query.name === undefined ? {} : { name: query.name }),
        ...(query.version === undefined ? {} : { version: query.version }),
        dryRun: query.dry_run === 'true',
        ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
      })
      .catch(locatedIn(document))
    if (outcome.outcome === 'dry-run') {
      const { workflow, workflowVersion, input, estimate, warnings } = outcome
      const estimated = estimateResource(estimate)
      const tried: DryRun = { workflow, workflow_version: workflowVersion, input, estimate: estimated, warnings }
      return c.json(tried)
    }
    const runId = outcome.outcome === 'accepted' ? outcome.run.id : outcome.runId
    const headers = acceptedHeaders({ ...outcome, runId })
    if (waitS > 0) {
      await waitForEnd(deps, principal.organizationId, runId, waitS * 1000)
      headers['preference-applied'] = `wait=${waitS}`
    }
    const resource =
      outcome.outcome === 'accepted' && waitS === 0 && outcome.run.slots.length === 0
        ? acceptedResource(outcome.run, outcome.createdAt, outcome.pricingVersion)
        : await reader.get(principal.organizationId, runId)
    return c.json(resource, 202, headers)
  }

  const submission = {
    query: Submission,
    summary: 'Submit a run-spec; with dry_run only say what it would do and cost',
    body: publishedSchema('run-spec'),
    answers: { 200: DryRun, 202: RunResource },
    problems: SUBMIT_PROBLEMS,
    submits: true,
    headers: ['Idempotency-Key', 'Prefer', 'Location', 'Idempotent-Replayed', 'Preference-Applied'],
    handle: submit,
  } as const

  return [
    operator.post('submitRun', '/v1/workflows/runs', submission),
    operator.post('submitRunAlias', '/v1/workflows/run', submission),
    operator.get('listRuns', '/v1/workflows/runs', {
      query: z.strictObject({ ...RUN_FILTER, ...paging(RunId), fields: Fields.optional() }),
      summary: 'List runs, newest first; without what may be large, unless `fields` names it',
      answers: { 200: page(ListedRun) },
      async handle({ c, principal, query }) {
        const { limit, cursor = null, fields = [], ...filter } = query
        const found = pageOf(await reader.list(principal.organizationId, filter, limit + 1, cursor), limit)
        if (fields.length === 0) return c.json(found)
        const filled = await filledPage(found, async (listed) => {
          const found = await reader.get(principal.organizationId, listed.id)
          const run = found && shownRun(found, principal)
          return { ...listed, ...(run && Object.fromEntries(fields.map((name) => [name, run[name]]))) }
        })
        return c.json(filled)
      },
    }),
    operator.get('getRun', '/v1/workflows/runs/:id', {
      summary: 'A run',
      answers: { 200: RunResource },
      handle: found('run', reader.get, shownRun),
    }),
    operator.get('getSpecification', '/v1/workflows/runs/:id/specification', {
      summary: 'What the run executes, frozen before it began',
      answers: { 200: Specification },
      async handle({ c, principal, param }) {
        const found = orNotFound(await reader.specification(principal.organizationId, param('id')), 'run')
        const document = specificationDocument(found, found.definition, principal.role === 'admin')
        if (principal.role !== 'admin') return c.json(document)
        const prompts = resolvedPrompts(found, found.definition, found.outputs, catalog)
        return c.json({ ...document, resolvedPrompts: prompts })
      },
    }),
    operator.get('listSteps', '/v1/workflows/runs/:id/steps', {
      summary: 'The steps of a run in template order, and how far each is',
      answers: { 200: list(RunStep) },
      handle: found('run', reader.steps, (data, { role }) => ({
        data: role === 'admin' ? data : data.map(withoutProvidersWords),
      })),
    }),
    operator.get('getLedger', '/v1/workflows/runs/:id/ledger', {
      summary: 'Every provider call of a run, with its price',
      answers: { 200: list(LedgerEntry) },
      handle: found('run', reader.ledger, (data, { role }) => ({
        data: role === 'admin' ? data : data.map((entry) => ({ ...entry, error: null })),
      })),
    }),
    operator.get('getReceipt', '/v1/workflows/runs/:id/receipt', {
      summary: 'What became of each step, what it cost, and what stopping the run has saved',
      answers: { 200: Receipt },
      handle: found('run', reader.recorded, receiptOf),
    }),
    operator.post('retryRun', '/v1/workflows/runs/:id/retry', {
      summary: 'Go on where a failed or cancelled run stopped, as a new run; nothing finished is paid again',
      answers: { 202: RunResource },
      problems: ['not-retryable', 'not-runnable', 'idempotency-mismatch'],
      submits: true,
      headers: ['Idempotency-Key', 'Location', 'Idempotent-Replayed'],
      async handle({ c, principal: { organizationId, role }, param }) {
        const idempotencyKey = idempotencyKeyOf(c)
        const of = { organizationId, admin: role === 'admin', runId: param('id') }
        const outcome = await retryRun(
          { ...deps, store: runs, endedRun: reader.ended, findRunnable: authoring.runnable },
          { ...of, ...(idempotencyKey === undefined ? {} : { idempotencyKey }) },
        )
        if (outcome.outcome === 'unknown') throw notFound('run')
        return c.json(await reader.get(organizationId, outcome.runId), 202, acceptedHeaders(outcome))
      },
    }),
    operator.post('cancelRun', '/v1/workflows/runs/:id/cancel', {
      summary: 'Cancel a run and its slots',
      answers: { 202: RunResource },
      problems: ['already-finished'],
      async handle(call) {
        const run = await own(call)
        if (isTerminal(run.status)) throw new FabriqueError('already-finished', `The run is ${run.status}.`)
        if (!(await cancelRun({ runs, queue }, run.id)))
          throw new FabriqueError('already-finished', 'The run has just finished.')
        return call.c.json(shownRun(await own(call), call.principal), 202)
      },
    }),
    operator.post('reviewRun', '/v1/workflows/runs/:id/review', {
      summary: 'Decide the open review gate',
      body: Review,
      answers: { 200: RunResource },
      problems: ['no-open-gate', 'gate-by-name'],
      async handle(call) {
        const { c, principal } = call
        const run = await own(call)
        const { decision, comment, gate } = parseBody(Review, await readDocument(c))
        checkWord(run, decision, gate)
        const delivery = await runs.decide(run.id, {
          approve: decision === 'approve' || decision === 'call-again',
          by: principal.keyId,
          ...(gate === undefined ? {} : { gateId: gate }),
          ...(comment === undefined ? {} : { comment }),
        })
        if (delivery === null) throw noOpenGate(run, gate)
        await queue.enqueue([delivery])
        return c.json(shownRun(await own(call), principal))
      },
    }),
  ]
}

/** Refuses to decide about money by a word that was meant for pictures, and the other way round. */
function checkWord({ gates }: RunResource, decision: string, asked: string | undefined): void {
  const open = gates.filter(({ status }) => status === 'open')
  const isAboutMoney = decision === 'call-again' || decision === 'give-up'
  // Without a name a decision is about a review, where there is one.
  const meant = open.toSorted((a, b) => Number(a.type === DECISION_GATE) - Number(b.type === DECISION_GATE))[0]
  const gate = asked === undefined ? meant : open.find(({ id }) => id === asked)
  if (gate === undefined || (gate.type === DECISION_GATE ? isAboutMoney && asked !== undefined : !isAboutMoney)) return
  throw new FabriqueError(
    'gate-by-name',
    gate.type === DECISION_GATE
      ? `${gate.detail} Send {"gate": "${gate.id}", "decision": "call-again"}, or "give-up".`
      : `The gate "${gate.id}" is a review: it takes "approve" or "reject".`,
  )
}

function noOpenGate({ gates }: RunResource, asked: string | undefined): FabriqueError {
  const open = gates.filter(({ status }) => status === 'open').map(({ id }) => `"${id}"`)
  return new FabriqueError(
    'no-open-gate',
    asked !== undefined && open.length > 0
      ? `The gate "${asked}" is not open; open for a decision: ${open.join(', ')}.`
      : 'No gate of this run is open for a decision, or it was decided already.',
  )
}

/** Where the run of a submit is, and whether it had been accepted before. */
export function acceptedHeaders({ outcome, runId }: { outcome: string; runId: string }): Record<string, string> {
  return { location: runUrls(runId).self, ...(outcome === 'replayed' ? { 'idempotent-replayed': 'true' } : {}) }
}

function preferredWait(c: Context<ApiContext>): number {
  const seconds = /(?:^|,)\s*wait\s*=\s*"?(\d{1,4})/.exec(c.req.header('prefer') ?? '')?.[1]
  return Math.min(Number(seconds ?? 0), 60)
}

/** What a template hands to a workflow that it calls is the template's: an operator sees the input of its own runs only. */
function shownRun(run: RunResource, { role }: Pick<Call<never>['principal'], 'role'>): RunResource {
  return role === 'admin' || run.caller_run_id === null ? run : { ...run, input: {} }
}

/** They may quote what the template asks. */
function withoutProvidersWords(step: RunStep): RunStep {
  const { provider_error: _told, ...shown } = step
  return shown
}
