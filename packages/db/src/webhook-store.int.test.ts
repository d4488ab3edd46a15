// The outbox of webhooks: what is owed to whom, who may send it, and that the record of it is right.
import { aNewRun, createSequentialIds } from '@fabrique/engine/testing'
import { type EventKind, WEBHOOKS_MAX } from '@fabrique/schema'
import type { Attempt } from '@fabrique/webhooks'
import { sql } from 'kysely'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createRunStore } from './runs/run-store.ts'
import { createTestDb } from './testing.ts'
import { createDeliveryStore, createWebhookStore } from './webhook-store.ts'

const CLAIM = { limit: 100, perOrganization: 50, perEndpoint: 4, slow: [] as string[], leaseMs: 15_000 }
const OK: Attempt = { status: 200, error: null, durationMs: 5, retryAfterMs: 0 }
const DOWN: Attempt = { status: 503, error: 'HTTP 503', durationMs: 5, retryAfterMs: 0 }
const RETRY = { is: 'retry', delayMs: 30_000 } as const
const DELIVERED = { is: 'delivered' } as const

async function setup() {
  const { db, drop } = await createTestDb()
  onTestFinished(drop)
  const ids = createSequentialIds('5')
  await db.kysely.insertInto('organizations').values({ id: 'other', name: 'Other' }).execute()
  const runs = createRunStore(db, createSequentialIds('9'))
  const webhooks = createWebhookStore(db, ids)
  return {
    db,
    runs,
    webhooks,
    deliveries: createDeliveryStore(db),
    async endpoint(
      organizationId = 'system',
      given: { url?: string; eventFilter?: EventKind[]; maxRetries?: number } = {},
    ) {
      const made = await webhooks.create(organizationId, {
        url: 'https://example.com/hook',
        eventFilter: [],
        maxRetries: 7,
        ...given,
      })
      if (made === null) throw new Error('no endpoint was made')
      return made
    },
    /** A run that ends at once: cancelled before anybody took it. */
    async endedRun(organizationId = 'system', state: object | null = null) {
      const run = { ...aNewRun(ids.next()), organizationId, state: state as never }
      await runs.accept(run)
      const { settled } = await runs.requestCancel(run.id)
      return { run, end: settled[0] }
    },
    /** The record compares its own clock with what is written in it: time passes by moving the record into the past. */
    async advance(ms: number) {
      const passed = sql`${ms} * interval '1 ms'`
      await db.kysely
        .updateTable('webhook_deliveries')
        .set({
          next_attempt_at: sql<Date>`next_attempt_at - ${passed}`,
          claimed_until: sql<Date>`claimed_until - ${passed}`,
        })
        .execute()
      await db.kysely
        .updateTable('webhook_endpoints')
        .set({ former_until: sql<Date>`former_until - ${passed}` })
        .execute()
    },
  }
}

function anEnd(runId: string, { id, seq }: { id: string; seq: number }) {
  const kind = 'workflow.run.completed'
  return { run_id: runId, seq, id, kind, node_key: null, payload: '{}', timestamp: new Date() }
}

describe('organizations', () => {
  it('take turns, so that one with many due deliveries does not delay the one of another', async () => {
    const { endpoint, endedRun, deliveries, advance } = await setup()
    const many = new Set<string>()
    for (let index = 0; index < 5; index += 1) many.add((await endpoint()).id)
    const one = await endpoint('other')
    for (let index = 0; index < 4; index += 1) await endedRun()
    await advance(60_000)
    await endedRun('other')

    const first = await deliveries.claim({ ...CLAIM, limit: 2 })
    expect(first.map(({ endpointId }) => endpointId)).toContain(one.id)
    // A share of all that stands, in later looks too.
    const second = await deliveries.claim({ ...CLAIM, perOrganization: 7 })
    expect(second).toHaveLength(6)
    expect(second.every(({ endpointId }) => many.has(endpointId))).toBe(true)
    expect(await deliveries.claim({ ...CLAIM, perOrganization: 7 })).toEqual([])
  })

  it('have one place for an endpoint that is slow', async () => {
    const { endpoint, endedRun, deliveries } = await setup()
    const { id } = await endpoint()
    for (let index = 0; index < 3; index += 1) await endedRun()
    expect(await deliveries.claim({ ...CLAIM, slow: [id] })).toHaveLength(1)
    expect(await deliveries.claim({ ...CLAIM, slow: [id] })).toEqual([])
    expect(await deliveries.claim(CLAIM)).toHaveLength(2)
  })
})

describe('an event', () => {
  it('that ends a run makes one delivery for each endpoint of its organization, with the bytes of the contract', async () => {
    const { endpoint, endedRun, deliveries } = await setup()
    const [a, b] = [await endpoint(), await endpoint()]
    await endpoint('other')
    const { run, end } = await endedRun('system', { nested: { text: 'ü "quoted" \\ \u2028' }, list: [1, null] })
    const due = await deliveries.claim(CLAIM)
    expect(due.map(({ endpointId }) => endpointId).sort()).toEqual([a.id, b.id].sort())
    expect(due[0]?.body).toBe(due[1]?.body)
    expect(due[0]).toMatchObject({ eventId: end?.id, url: a.url, failures: 0, fence: 1 })
    const { payload } = end ?? {}
    expect(due[0]?.body).toBe(
      JSON.stringify({
        type: 'workflow.run.cancelled',
        timestamp: end?.timestamp,
        data: {
          id: end?.id,
          seq: 3,
          run_id: run.id,
          root_run_id: run.id,
          workflow: run.workflow,
          ...payload,
        },
      }),
    )
  })

  it('makes a delivery when the filter names its kind, and for no other kind', async () => {
    const { endpoint, endedRun, deliveries } = await setup()
    await endpoint('system', { eventFilter: ['workflow.run.created', 'workflow.run.failed'] })
    await endedRun()
    const due = await deliveries.claim(CLAIM)
    expect(due.map(({ body }) => JSON.parse(body).type)).toEqual(['workflow.run.created'])
    // The payload's "workflow" is the envelope's: a key stands once.
    expect(due[0]?.body.match(/"workflow":/g)).toHaveLength(1)
  })

  it('of a run that is a part of another makes no delivery', async () => {
    const { db, endpoint, endedRun, deliveries } = await setup()
    const { run: root } = await endedRun()
    const { run } = await endedRun()
    await endpoint()
    const places = [
      { root_run_id: root.id, slot_index: 0, caller_run_id: null },
      { root_run_id: run.id, slot_index: null, caller_run_id: root.id },
      { root_run_id: run.id, slot_index: null, caller_run_id: null },
    ]
    for (const [index, place] of places.entries()) {
      await db.kysely.updateTable('runs').set(place).where('id', '=', run.id).execute()
      await db.kysely
        .insertInto('events')
        .values(anEnd(run.id, { id: `end-${index}`, seq: 10 + index }))
        .execute()
    }
    expect((await deliveries.claim(CLAIM)).map(({ eventId }) => eventId)).toEqual(['end-2'])
  })

  it('makes no delivery if its transaction does not commit', async () => {
    const { db, endpoint, runs, deliveries } = await setup()
    await endpoint()
    const run = aNewRun('01ARZ3NDEKTSV4RRFFQ69G5FAV')
    await runs.accept(run)
    await expect(
      db.kysely.transaction().execute(async (trx) => {
        await trx
          .insertInto('events')
          .values(anEnd(run.id, { id: 'end', seq: 3 }))
          .execute()
        throw new Error('rolled back')
      }),
    ).rejects.toThrow('rolled back')
    expect(await deliveries.claim(CLAIM)).toEqual([])
  })
})

describe('a claim', () => {
  it('has one holder until its lease ends: then the delivery is due again, and the late outcome is not recorded', async () => {
    const { endpoint, endedRun, deliveries, webhooks, advance } = await setup()
    const { id } = await endpoint()
    await endedRun()
    const claims = await Promise.all([deliveries.claim(CLAIM), deliveries.claim(CLAIM), deliveries.claim(CLAIM)])
    expect(claims.flat()).toHaveLength(1)
    const [first] = claims.flat()
    await advance(CLAIM.leaseMs + 1)
    const [second] = await deliveries.claim(CLAIM)
    expect(second).toMatchObject({ body: first?.body, fence: 2 })
    if (first === undefined || second === undefined) throw new Error('nothing was due')
    await deliveries.record(first, DOWN, { is: 'exhausted' })
    await deliveries.record(second, OK, DELIVERED)
    expect(await webhooks.deliveries('system', id, { limit: 10, before: null })).toMatchObject([
      { status: 'delivered', attempts: 1, last_status: 200, log: [{ number: 1, status: 200 }] },
    ])
    expect((await webhooks.get('system', id))?.failing_since).toBeNull()
  })

  it('takes four of an endpoint at a time, one of one that fails, and healthy ones first', async () => {
    const { endpoint, endedRun, deliveries, advance } = await setup()
    const failing = await endpoint()
    const healthy = await endpoint('other')
    for (let count = 0; count < 6; count += 1) await endedRun('system')
    const firsts = await deliveries.claim(CLAIM)
    expect(firsts).toHaveLength(4)
    expect(await deliveries.claim(CLAIM)).toEqual([])
    for (const delivery of firsts) await deliveries.record(delivery, DOWN, RETRY)
    await advance(60_000)
    for (let count = 0; count < 6; count += 1) await endedRun('other')
    const due = await deliveries.claim(CLAIM)
    expect(due.map(({ endpointId }) => endpointId)).toEqual([...Array(4).fill(healthy.id), failing.id])
  })

  it('comes with the former secret for 24 hours after a rotation', async () => {
    const { endpoint, endedRun, deliveries, webhooks, advance } = await setup()
    const { id, secret } = await endpoint()
    const rotated = await webhooks.rotate('system', id)
    expect(rotated?.secret).not.toBe(secret)
    await endedRun()
    const [due] = await deliveries.claim(CLAIM)
    expect(due?.secrets).toEqual([rotated?.secret, secret])
    await advance(24 * 3_600_000)
    const [later] = await deliveries.claim(CLAIM)
    expect(later?.secrets).toEqual([rotated?.secret])
  })
})

describe('an outcome', () => {
  it('of a failure puts the delivery off, and is logged up to the last twenty attempts', async () => {
    const { endpoint, endedRun, deliveries, webhooks, advance } = await setup()
    const { id } = await endpoint()
    await endedRun()
    for (let attempt = 1; attempt <= 23; attempt += 1) {
      const [due] = await deliveries.claim(CLAIM)
      if (due === undefined) throw new Error('nothing was due')
      expect(due.failures).toBe(attempt - 1)
      await deliveries.record(due, DOWN, RETRY)
      expect(await deliveries.claim(CLAIM)).toEqual([])
      await advance(RETRY.delayMs)
    }
    const [delivery] = (await webhooks.deliveries('system', id, { limit: 10, before: null })) ?? []
    expect(delivery).toMatchObject({ status: 'pending', attempts: 23, last_status: 503, last_error: 'HTTP 503' })
    expect(delivery?.log.map(({ number }) => number)).toEqual(Array.from({ length: 20 }, (_, index) => 23 - index))
    expect((await webhooks.get('system', id))?.failing_since).not.toBeNull()
  })

  it('"gone" disables the endpoint and its pending deliveries; once enabled it gets later events only', async () => {
    const { endpoint, endedRun, deliveries, webhooks } = await setup()
    const { id } = await endpoint()
    for (let count = 0; count < 3; count += 1) await endedRun()
    const [due] = await deliveries.claim({ ...CLAIM, perEndpoint: 1 })
    if (due === undefined) throw new Error('nothing was due')
    await deliveries.record(due, { ...DOWN, status: 410 }, { is: 'gone' })
    const all = await webhooks.deliveries('system', id, { limit: 10, before: null })
    expect(all?.map(({ status }) => status)).toEqual(['disabled', 'disabled', 'disabled'])
    expect(await webhooks.get('system', id)).toMatchObject({
      enabled: false,
      disabled_reason: expect.stringMatching(/410/),
    })
    expect(await webhooks.redeliver('system', id, due.eventId)).toBe('disabled')
    await endedRun()
    expect(await deliveries.claim(CLAIM)).toEqual([])
    await webhooks.change('system', id, { enabled: true })
    const { end } = await endedRun()
    expect(await deliveries.claim(CLAIM)).toMatchObject([{ eventId: end?.id }])
  })
})

describe('a redelivery', () => {
  it('is due at once, with the same id and bytes and all its retries, whatever became of the delivery', async () => {
    const { endpoint, endedRun, deliveries, webhooks } = await setup()
    const { id } = await endpoint()
    await endedRun()
    const [first] = await deliveries.claim(CLAIM)
    if (first === undefined) throw new Error('nothing was due')
    await deliveries.record(first, DOWN, { is: 'exhausted' })
    expect(await webhooks.redeliver('system', id, first.eventId)).toBe('due')
    const [second] = await deliveries.claim(CLAIM)
    if (second === undefined) throw new Error('nothing was due')
    await deliveries.record(second, OK, DELIVERED)
    expect(await webhooks.redeliver('system', id, first.eventId)).toBe('due')
    const [third] = await deliveries.claim(CLAIM)
    const { eventId, body } = first
    expect([second, third]).toMatchObject([
      { eventId, body, failures: 0 },
      { eventId, body, failures: 0 },
    ])
    // Asked for while it is being sent, it is not sent twice at a time.
    expect(await webhooks.redeliver('system', id, eventId)).toBe('due')
    expect(await deliveries.claim(CLAIM)).toEqual([])
    expect(await webhooks.deliveries('system', id, { limit: 10, before: null })).toMatchObject([
      { status: 'pending', attempts: 2, finished_at: null },
    ])
  })
})

describe('an endpoint', () => {
  it('of another organization is as unknown as one that does not exist', async () => {
    const { endpoint, endedRun, webhooks, deliveries } = await setup()
    const { id, ...made } = await endpoint('other')
    const { end } = await endedRun('other')
    for (const unknown of [id, 'wh_nobody']) {
      expect(await webhooks.get('system', unknown)).toBeNull()
      expect(await webhooks.change('system', unknown, { enabled: false })).toBeNull()
      expect(await webhooks.rotate('system', unknown)).toBeNull()
      expect(await webhooks.remove('system', unknown)).toBe(false)
      expect(await webhooks.deliveries('system', unknown, { limit: 10, before: null })).toBeNull()
      expect(await webhooks.redeliver('system', unknown, end?.id ?? '')).toBe('unknown')
    }
    expect(await webhooks.list('system')).toEqual([])
    const { secret, ...shown } = made
    expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/)
    expect(await webhooks.list('other')).toEqual([{ id, ...shown }])
    expect(await deliveries.claim(CLAIM)).toHaveLength(1)
  })

  it('that was removed loses its deliveries, and one that an open transaction still adds is never sent', async () => {
    const { db, endpoint, endedRun, webhooks, deliveries } = await setup()
    const { id } = await endpoint()
    const { end } = await endedRun()
    expect(await webhooks.remove('system', id)).toBe(true)
    expect(await webhooks.get('system', id)).toBeNull()
    expect(await webhooks.deliveries('system', id, { limit: 10, before: null })).toBeNull()
    // A transaction that began before writes what it saw then.
    await db.kysely
      .insertInto('webhook_deliveries')
      .values({
        endpoint_id: id,
        event_id: end?.id ?? '',
        kind: 'workflow.run.created',
        run_id: 'r',
        body: '{}',
        status: 'pending',
        last_status: null,
        last_error: null,
        next_attempt_at: new Date(0),
      })
      .execute()
    expect(await deliveries.claim(CLAIM)).toEqual([])
    await deliveries.settleDisabled()
    expect(await db.kysely.selectFrom('webhook_deliveries').select('status').execute()).toEqual([
      { status: 'disabled' },
    ])
    const { secret, former_secret } = await db.kysely
      .selectFrom('webhook_endpoints')
      .selectAll()
      .executeTakeFirstOrThrow()
    expect([secret, former_secret]).toEqual(['', null])
  })

  it('is one of at most fifty of its organization, however many are asked for at once', async () => {
    const { webhooks } = await setup()
    const asked = Array.from({ length: WEBHOOKS_MAX + 5 }, () =>
      webhooks.create('system', { url: 'https://example.com', eventFilter: [], maxRetries: 7 }),
    )
    expect((await Promise.all(asked)).filter((made) => made !== null)).toHaveLength(WEBHOOKS_MAX)
  })
})
