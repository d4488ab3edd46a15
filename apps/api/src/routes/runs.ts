// Runs: submit, look, steer. Everything below belongs to the key's own organization.
import { FabriqueError, isTerminal, RunId, type RunResource, RunSpec, runUrls } from '@fabrique/schema'
import { cancelRun, estimateResource, type NewRun, resolvedPrompts, specificationDocument } from '@fabrique/engine'
import type { Context } from 'hono'
import { z } from 'zod'
import type { AppDeps } from '../deps.ts'
import { located, readDocument } from '../body.ts'
import { notFound } from '../errors.ts'
import { idempotencyKeyOf } from '../idempotency-key.ts'
import { parseBody } from '../parse-body.ts'
import { type ApiContext, type Call, defineRoute, type Route } from '../route.ts'
import { RUN_FILTER, runFilter } from '../run-filter.ts'
import { waitForEnd } from '../wait-for-end.ts'

const Name = z.string().max(128)
const Limit = z.coerce.number().int().min(1).max(100).default(20)

const Review = z.strictObject({
  decision: z.enum(['approve', 'reject']),
  comment: z.string().max(4000).optional(),
  gate: z.string().max(64).optional(),
})

type RunDeps = Pick<AppDeps, 'catalog' | 'submitter' | 'reader' | 'runs' | 'queue' | 'news'>

export function runRoutes(deps: RunDeps): Route[] {
  const { catalog, submitter, reader, runs, queue } = deps
  const tag = 'runs'

  async function own({ principal, param }: Pick<Call<never>, 'principal' | 'param'>): Promise<RunResource> {
    const run = await reader.get(principal.organizationId, param('id'))
    if (run === null) throw notFound('run')
    return run
  }

  async function submit({
    c,
    principal,
    query,
  }: Call<{ name?: string | undefined; version?: string | undefined; dry_run?: 'true' | 'false' | undefined }>) {
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
      .catch((error: unknown) => located(error, document))
    if (outcome.outcome === 'dry-run') {
      const { workflow, workflowVersion, input, estimate, warnings } = outcome
      return c.json({
        workflow,
        workflow_version: workflowVersion,
        input,
        estimate: estimateResource(estimate),
        warnings,
      })
    }
    const runId = outcome.outcome === 'accepted' ? outcome.run.id : outcome.runId
    const headers: Record<string, string> = { location: runUrls(runId).self }
    if (outcome.outcome === 'replayed') headers['idempotent-replayed'] = 'true'
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
    access: 'operator',
    query: z.strictObject({
      name: Name.optional(),
      version: z.string().max(20).optional(),
      dry_run: z.enum(['true', 'false']).optional(),
    }),
    docs: {
      summary: 'Submit a run-spec',
      tag,
      body: RunSpec,
      answers: { 200: 'With dry_run: what it would do and cost.', 202: 'Accepted: the run is on record.' },
    },
    handle: submit,
  } as const

  return [
    defineRoute({ method: 'post', path: '/v1/workflows/runs', ...submission }),
    defineRoute({ method: 'post', path: '/v1/workflows/run', ...submission }),
    defineRoute({
      method: 'get',
      path: '/v1/workflows/runs',
      access: 'operator',
      query: z.strictObject({ ...RUN_FILTER, limit: Limit, cursor: RunId.optional() }),
      docs: { summary: 'List runs, newest first', tag, answers: { 200: 'A page of runs and the cursor of the next.' } },
      async handle({ c, principal, query }) {
        const { limit, cursor = null } = query
        const found = await reader.list(principal.organizationId, runFilter(query), limit + 1, cursor)
        const data = found.slice(0, limit)
        return c.json({ data, next_cursor: found.length > limit ? (data.at(-1)?.id ?? null) : null })
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/workflows/runs/:id',
      access: 'operator',
      docs: { summary: 'A run', tag, answers: { 200: 'The run.' } },
      handle: async (call) => call.c.json(await own(call)),
    }),
    defineRoute({
      method: 'get',
      path: '/v1/workflows/runs/:id/specification',
      access: 'operator',
      docs: {
        summary: 'What the run executes, frozen before it began',
        tag,
        answers: { 200: 'The specification; prompts for admins only.' },
      },
      async handle({ c, principal, param }) {
        const found = await reader.specification(principal.organizationId, param('id'))
        if (found === null) throw notFound('run')
        const document = specificationDocument(found, found.definition, principal.role === 'admin')
        if (principal.role !== 'admin') return c.json(document)
        const prompts = resolvedPrompts(found, found.definition, found.outputs, catalog)
        return c.json({ ...document, resolvedPrompts: prompts })
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/workflows/runs/:id/steps',
      access: 'operator',
      docs: {
        summary: 'The steps of a run, and how far each is',
        tag,
        answers: { 200: 'The steps in template order.' },
      },
      async handle({ c, principal, param }) {
        const data = await reader.steps(principal.organizationId, param('id'))
        if (data === null) throw notFound('run')
        return c.json({ data })
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/workflows/runs/:id/ledger',
      access: 'operator',
      docs: { summary: 'Every provider call of a run, with its price', tag, answers: { 200: 'One entry per call.' } },
      async handle({ c, principal, param }) {
        const data = await reader.ledger(principal.organizationId, param('id'))
        if (data === null) throw notFound('run')
        return c.json({ data })
      },
    }),
    defineRoute({
      method: 'post',
      path: '/v1/workflows/runs/:id/cancel',
      access: 'operator',
      docs: { summary: 'Cancel a run and its slots', tag, answers: { 202: 'The run.', 409: 'It has finished.' } },
      async handle(call) {
        const run = await own(call)
        if (isTerminal(run.status)) throw new FabriqueError('already-finished', `The run is ${run.status}.`)
        if (!(await cancelRun({ runs, queue }, run.id)))
          throw new FabriqueError('already-finished', 'The run has just finished.')
        return call.c.json(await own(call), 202)
      },
    }),
    defineRoute({
      method: 'post',
      path: '/v1/workflows/runs/:id/review',
      access: 'operator',
      docs: {
        summary: 'Decide the open review gate',
        tag,
        body: Review,
        answers: { 200: 'The run, on its way.', 409: 'No gate is open.' },
      },
      async handle(call) {
        const { c, principal } = call
        const run = await own(call)
        const { decision, comment, gate } = parseBody(Review, await readDocument(c))
        const delivery = await runs.decide(run.id, {
          approve: decision === 'approve',
          by: principal.keyId,
          ...(gate === undefined ? {} : { gateId: gate }),
          ...(comment === undefined ? {} : { comment }),
        })
        if (delivery === null) throw noOpenGate(run, gate)
        await queue.enqueue([delivery])
        return c.json(await own(call))
      },
    }),
  ]
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

function preferredWait(c: Context<ApiContext>): number {
  const seconds = /(?:^|,)\s*wait\s*=\s*"?(\d{1,4})/.exec(c.req.header('prefer') ?? '')?.[1]
  return Math.min(Number(seconds ?? 0), 60)
}

/** The resource of a run that was accepted this moment, without reading it back. */
function acceptedResource(run: NewRun, createdAt: string, pricingVersion: string): RunResource {
  return {
    id: run.id,
    workflow: run.workflow,
    workflow_version: run.workflowVersion,
    status: 'pending',
    partial: false,
    priority: run.priority,
    fail_fast: run.failFast,
    input: run.input,
    metadata: run.metadata,
    state: run.state,
    parent_run_id: run.parentRunId,
    parent_variant_index: run.parentVariantIndex,
    root_run_id: run.id,
    caller_run_id: null,
    caller_step_id: null,
    retry_of: run.retryOf,
    simulated: run.simulated,
    outputs: [
      {
        index: 0,
        workflow: run.workflow,
        variant_index: run.instance.variantIndex,
        run_id: run.id,
        status: 'pending',
        output: null,
        artifacts: [],
        error: null,
      },
    ],
    gates: [],
    summary: { total: 1, completed: 0, failed: 0, cancelled: 0 },
    cost: { currency: 'USD', estimated: run.estimatedUsd, actual: 0, pricing_version: pricingVersion },
    error: null,
    warnings: run.warnings,
    created_at: createdAt,
    started_at: null,
    finished_at: null,
    urls: runUrls(run.id),
  }
}
