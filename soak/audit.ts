// What must hold once everything is mended: read from the clients' log, the provider's bill, PostgreSQL and the disk,
// never from what Fabrique says of itself.
// Hides the queries; an answer names what broke a promise, by promise.
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { BROKEN_ENDS } from '../test/ended-runs.ts'
import type { Installation } from './installation.ts'
import type { Provider } from './provider.ts'
import { type Accepted, AGENT, ask, type Client } from './workload.ts'

/** Of each promise, the first offenders are named. */
const NAMED_MAX = 20
const FOREIGN_SAMPLES = 40

/** By promise: what broke it. Empty lists are what we want. */
export interface Findings {
  lost: string[]
  duplicateTerminal: string[]
  gapsInEvents: string[]
  paidAgain: string[]
  unbooked: string[]
  misbooked: string[]
  pendingCalls: string[]
  openGates: string[]
  wrongCost: string[]
  repeatedRequests: string[]
  orphans: string[]
  damagedServed: string[]
  foreignBytes: string[]
}

type Named = { what: string }

export async function audit(
  installation: Installation,
  provider: Provider,
  accepted: readonly Accepted[],
  clients: readonly [Client, Client],
  altered: ReadonlySet<string>,
): Promise<Findings> {
  const { query } = installation
  const named = async (sql: string, values: unknown[] = []) =>
    (await query<Named>(`${sql} limit ${NAMED_MAX}`, values)).map(({ what }) => what)
  const ids = accepted.map(({ id }) => id)
  const calls = await query<{ id: string; provider: string; request_id: string | null; outcome: string; usd: number }>(
    'select id, provider, request_id, outcome, coalesce(actual_usd, -1)::float8 as usd from provider_calls',
  )
  const rowOf = new Map(calls.map((call) => [call.id, call]))
  const rowOfRequest = new Map(calls.map((call) => [call.request_id ?? '', call]))
  const bookedFor = provider.made.map((made) => ({
    made,
    row: made.provider === 'openai' ? rowOf.get(made.id) : rowOfRequest.get(made.id),
  }))
  const billed = new Set(bookedFor.map(({ row }) => row?.id))
  return {
    lost: await named(
      `select coalesce(runs.id, accepted.id) || ' ' || coalesce(runs.status, 'gone') as what
       from unnest($1::text[]) accepted(id) full join runs on runs.id = accepted.id
       where runs.status is null or runs.status not in ('completed', 'failed', 'cancelled')`,
      [ids],
    ),
    duplicateTerminal: await named(
      `select run_id as what from events where kind ~ '^workflow.run.(completed|failed|cancelled)$'
       group by run_id having count(*) > 1
       union all
       select ended.run_id from events ended join events later on later.run_id = ended.run_id and later.seq > ended.seq
       where ended.kind ~ '^workflow.run.(completed|failed|cancelled)$'`,
    ),
    gapsInEvents: await named(
      `select run_id as what from events group by run_id having count(*) <> max(seq) or min(seq) <> 1`,
    ),
    paidAgain: await named(
      `select run_id || ' ' || step_key as what from provider_calls where outcome = 'succeeded'
       group by run_id, step_key, step_id
       having count(*) > case when step_id = $1 then ${AGENT.turns} else 1 end`,
      [AGENT.step],
    ),
    // fal's own id is lost where its answer was; such a call is on the ledger as unknown.
    unbooked: bookedFor
      .filter(({ made, row }) => row === undefined && made.provider === 'openai')
      .map(({ made }) => made.id)
      .slice(0, NAMED_MAX),
    misbooked: calls
      .filter(({ id, outcome, usd }) => outcome !== 'unknown' && billed.has(id) !== usd > 0)
      .map(({ id, outcome, usd }) => `${id} ${outcome} $${usd}, ${billed.has(id) ? 'billed' : 'never made'}`)
      .slice(0, NAMED_MAX),
    pendingCalls: await named(BROKEN_ENDS.pendingCalls),
    openGates: await named(BROKEN_ENDS.openGates),
    wrongCost: await named(BROKEN_ENDS.wrongCost),
    repeatedRequests: provider.repeated.slice(0, NAMED_MAX),
    ...(await files(installation, clients, altered)),
    foreignBytes: await foreign(installation, accepted, clients),
  }
}

/** Rows and files must be each other's. An altered file may lie there, but is never handed out. */
async function files({ home, query, url }: Installation, clients: readonly Client[], altered: ReadonlySet<string>) {
  const root = join(home, 'artifacts')
  const rows = await query<{ id: string; organization: string; key: string; sha256: string }>(
    'select id, organization_id as organization, storage_key as key, sha256 from artifacts',
  )
  const keys = new Set(rows.map(({ key }) => key))
  const lying = existsSync(root)
    ? readdirSync(root, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    : []
  const orphans = lying
    .filter((file) => !keys.has(file))
    .map((file) => `${file} has no row`)
    .concat([...keys].filter((key) => !existsSync(join(root, key))).map((key) => `${key} has no file`))
  const isDamaged = (key: string, sha256: string) =>
    existsSync(join(root, key)) &&
    createHash('sha256')
      .update(readFileSync(join(root, key)))
      .digest('hex') !== sha256
  const damaged = [...new Map(rows.map((row) => [row.key, row])).values()].filter(({ key, sha256 }) =>
    isDamaged(key, sha256),
  )
  const served: string[] = []
  for (const { id, key, organization } of damaged) {
    if (!altered.has(join(root, key))) served.push(`${key} was altered by nobody`)
    const reader = clients.find(({ organizationId }) => organizationId === organization)
    const answer = await fetch(`${url}/v1/artifacts/${id}/content`, {
      headers: { authorization: `Bearer ${reader?.key}` },
    }).catch(() => null)
    if (answer?.status === 200) served.push(`${key} was served`)
  }
  return { orphans: orphans.slice(0, NAMED_MAX), damagedServed: served.slice(0, NAMED_MAX) }
}

/** Each organization asks for the other's runs. */
async function foreign(
  { url }: Installation,
  accepted: readonly Accepted[],
  [one, other]: readonly [Client, Client],
): Promise<string[]> {
  const seen: string[] = []
  for (const { id, client } of accepted.slice(-FOREIGN_SAMPLES)) {
    const stranger = client === one ? other : one
    for (const path of ['', '/events', '/ledger', '/receipt']) {
      const answer = await ask(`${url}/v1/workflows/runs/${id}${path}`, stranger.key)
      if (answer !== null && answer.status !== 404 && answer.status !== 403) seen.push(`${id}${path}: ${answer.status}`)
    }
  }
  return seen
}
