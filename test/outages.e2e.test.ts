// PostgreSQL away for longer than a lease, in each way in which it goes: no answer in hand is lost, no call is paid
// again, no run fails for it, and what cannot be written down meanwhile is said to be unavailable.
import { existsSync, readdirSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Fabrique, FOX, startFabrique } from './harness.ts'
import { createProviderStandIn, type ProviderStandIn } from './provider-stand-in.ts'
import { createWire, type Wire } from './wire.ts'

const LEASE_MS = 1_500
/** Longer than two leases, and than a statement waits for a lock. */
const AWAY_MS = 6_000
const LIMIT_MS = 90_000
const RUNS = 3

let wire: Wire
let providers: ProviderStandIn
let fabrique: Fabrique

beforeAll(async () => {
  wire = await createWire(process.env.TEST_DATABASE_URL ?? '')
  providers = await createProviderStandIn()
  fabrique = await startFabrique({
    workers: 2,
    env: { ...providers.env, FABRIQUE_LEASE_MS: String(LEASE_MS), FABRIQUE_RECONCILE_MS: '200' },
    postgresAt: new URL(wire.url),
  })
}, LIMIT_MS)

afterAll(async () => {
  await fabrique?.stop()
  await providers?.close()
  await wire?.close()
})

beforeEach(() => providers.forget())

/** Ways to be away; each answers how it ends. */
const OUTAGES: { name: string; refuses: boolean; begin(): Promise<() => Promise<unknown>> }[] = [
  {
    name: 'stopped, and started again',
    refuses: true,
    async begin() {
      await wire.cut()
      return () => wire.restore()
    },
  },
  {
    name: 'read-only, as after a failover',
    refuses: true,
    async begin() {
      await setReadOnly('on')
      return () => setReadOnly('off')
    },
  },
  {
    name: 'there, with its table of runs locked',
    refuses: false,
    async begin() {
      const seconds = AWAY_MS / 1_000
      const locked = fabrique.query(
        `do $$ begin lock table runs in access exclusive mode; perform pg_sleep(${seconds}); end $$`,
      )
      return () => locked
    },
  },
]

/** Changes what new connections may do, and ends those that there are. */
async function setReadOnly(value: 'on' | 'off'): Promise<void> {
  const name = new URL(fabrique.databaseUrl).pathname.slice(1)
  await fabrique.query('set default_transaction_read_only = off')
  await fabrique.query(`alter database ${name} set default_transaction_read_only = ${value}`)
  await fabrique.query(
    'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
  )
}

const staged = () => {
  const folder = join(fabrique.home, 'artifacts', 'staging')
  return existsSync(folder) ? readdirSync(folder).filter((name) => !name.endsWith('.partial')).length : 0
}

describe('PostgreSQL', () => {
  it.each(OUTAGES)(
    '$name: answers that come meanwhile are kept, and every run goes on with them',
    async ({ refuses, begin }) => {
      const held = Promise.withResolvers<void>()
      providers.script('image', ...Array.from({ length: RUNS }, () => ({ hold: held.promise })))
      const runs = await Promise.all(Array.from({ length: RUNS }, () => fabrique.submit()))
      await providers.heard('image', RUNS)
      const end = await begin()
      held.resolve()
      await expect.poll(staged, { timeout: AWAY_MS }).toBe(RUNS)
      if (refuses) {
        expect((await fabrique.request('/readyz')).status).toBe(503)
        const refused = await fabrique.request('/v1/workflows/runs', { body: FOX })
        expect([refused.status, refused.body.code]).toEqual([503, 'unavailable'])
        expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
      }
      // What is shown is that this takes longer than a lease.
      await delay(AWAY_MS)
      await end()
      for (const { id } of runs) {
        const log = await fabrique.finish(id)
        expect(log.at(-1)?.kind).toBe('workflow.run.completed')
        expect(log.map(({ seq }) => seq)).toEqual(log.map((_, index) => index + 1))
        const ledger = await fabrique.ledger(id)
        expect(ledger.map(({ outcome }) => outcome)).toEqual(['succeeded', 'succeeded'])
      }
      expect(providers.asked('image')).toHaveLength(RUNS)
      expect(providers.asked('submit')).toHaveLength(RUNS)
      const fences = await fabrique.query('select distinct lost_leases from runs')
      expect(fences).toEqual([{ lost_leases: 0 }])
      expect(staged()).toBe(0)
      expect((await fabrique.request('/readyz')).status).toBe(200)
    },
    LIMIT_MS,
  )
})
