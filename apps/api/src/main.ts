#!/usr/bin/env node
// The API process: brings the record up to date, seeds what is missing, then listens.
import { join, resolve } from 'node:path'
import { createArtifactStore } from '@fabrique/artifacts'
import { type Assembly, assemble } from '@fabrique/assembly'
import {
  type AccountStore,
  askWritable,
  createAccountStore,
  createArtifactReader,
  createDb,
  createEventLog,
  createReviewReader,
  createRunReader,
  createRunSteering,
  createScheduleStore,
  createSessionStore,
  createWebhookStore,
  migrate,
  readLedgerTotals,
  readUsage,
  seed,
} from '@fabrique/db'
import { createNews, createRunQueue } from '@fabrique/queue'
import {
  artifactStoreConfig,
  createKillpoint,
  createLog,
  parseEnv,
  runService,
  systemClock,
  systemIds,
} from '@fabrique/runtime'
import { urlProblem } from '@fabrique/safe-fetch'
import { readShippedDocuments } from '@fabrique/templates'
import { serve } from '@hono/node-server'
import { ADMIN, createAdminKey } from './admin-key.ts'
import { Registry } from 'prom-client'
import { createApp } from './app.ts'
import { createCredentialWatch } from './credential-watch.ts'
import { ApiEnv } from './env.ts'
import { createEventStreams } from './event-streams.ts'
import { createOrganizationFeeds } from './organization-feeds.ts'
import { createLeaving } from './leave.ts'
import { createQuotas } from './quotas.ts'
import { createRunFeeds } from './run-feeds.ts'
import { limitedServer } from './server-limits.ts'
import { createThumbnails } from './thumbnails.ts'
import { readWebApp } from './web-app.ts'

/** A year of a busy ledger takes longer to sum than other statements may, and must not hold up what they wait for. */
const REPORTS = { connectionsMax: 2, limitMs: 60_000 }
/** Beyond what streams take; more are closed as they come. */
const CONNECTIONS_BESIDE_STREAMS = 5_000

const log = createLog('api', process.env.LOG_LEVEL)

await runService(log, async (life) => {
  const env = parseEnv(ApiEnv, process.env)
  const home = resolve(env.FABRIQUE_HOME)
  const artifactStore = createArtifactStore(artifactStoreConfig(env, join(home, 'artifacts')), log)
  const ids = systemIds()
  const killpoint = createKillpoint(env)

  const db = life.own(createDb({ databaseUrl: env.DATABASE_URL, log }), (it) => it.close())
  const reports = life.own(createDb({ databaseUrl: env.DATABASE_URL, ...REPORTS, log }), (it) => it.close())
  await migrate(env.DATABASE_URL)
  const accounts = createAccountStore(db, ids)
  const sessions = createSessionStore(db, ids)

  const queue = life.own(createRunQueue({ redisUrl: env.REDIS_URL, prefix: env.REDIS_PREFIX, log }), (it) => it.close())
  const news = life.own(createNews({ redisUrl: env.REDIS_URL, prefix: env.REDIS_PREFIX, log }), (it) => it.close())
  const assembly = assemble({ env, db, queue, ids, killpoint })
  life.own(assembly.intake, (it) => it.close())
  await seed(assembly, await readShippedDocuments())
  await warnOfModelEnds(assembly)
  await makeFirstKey(accounts, env.FABRIQUE_ADMIN_KEY, home)
  const reader = createRunReader(db)
  const eventLog = createEventLog(db)
  const app = createApp({
    ...assembly,
    accounts,
    artifacts: createArtifactReader(db),
    artifactStore,
    clock: systemClock,
    ledgerTotals: (organizationId, time) => readLedgerTotals(reports, organizationId, time),
    log,
    news,
    organizationFeeds: createOrganizationFeeds({ eventLog, news }),
    quotas: createQuotas(
      {
        submitsPerMinute: env.QUOTA_SUBMITS_PER_MINUTE,
        openRuns: env.QUOTA_OPEN_RUNS,
        storedBytes: env.QUOTA_STORED_GIB * 2 ** 30,
      },
      (organizationId) => readUsage(db, organizationId),
    ),
    reader,
    registry: new Registry(),
    reviews: createReviewReader(db),
    runFeeds: createRunFeeds({ reader, eventLog, news }),
    schedules: createScheduleStore(db),
    sessions,
    steering: createRunSteering(db),
    stopping: life.stopping,
    streams: createEventStreams(
      { streamsMax: env.SSE_STREAMS_MAX, streamsPerKeyMax: env.SSE_STREAMS_PER_KEY_MAX },
      life.stopping,
    ),
    thumbnails: createThumbnails(),
    webhooks: createWebhookStore(db, ids),
    webhookUrlProblem: (url) => urlProblem(url, { allowPrivate: env.FABRIQUE_ALLOW_PRIVATE_WEBHOOKS === '1' }),
    credentials: createCredentialWatch(async (held) => (await accounts.valid(held)).union(await sessions.valid(held))),
    corsOrigins: env.FABRIQUE_CORS_ORIGINS ?? [],
    webApp: env.FABRIQUE_WEB_APP === undefined ? null : readWebApp(env.FABRIQUE_WEB_APP),
    askDatabase: () => askWritable(db),
  })
  const leaving = createLeaving(limitedServer({ connectionsMax: env.SSE_STREAMS_MAX + CONNECTIONS_BESIDE_STREAMS }))
  const { createServer } = leaving
  serve({ fetch: app.fetch, port: env.PORT, hostname: env.HOST, createServer }, ({ port }) =>
    log.info({ host: env.HOST, port }, 'the API listens'),
  )
  const times = { noticeMs: env.FABRIQUE_NOTICE_MS, graceMs: env.FABRIQUE_GRACE_MS }
  life.own(leaving, (it) => it.leave(times))
})

/** Says which listed workflows name models that end soon, or have ended. */
async function warnOfModelEnds({ authoring, templates }: Assembly): Promise<void> {
  const endsIn = await authoring.modelEnds()
  for (const { id, document } of await templates.list({ drafts: false }))
    for (const { problem } of endsIn(document)) log.warn({ workflow: id, at: problem.pointer }, problem.detail)
}

/** The bootstrap admin's key: from the environment, or made, printed once and kept. */
async function makeFirstKey(accounts: AccountStore, given: string | undefined, home: string): Promise<void> {
  if (!(await accounts.needsBootstrap())) return
  if (given === undefined) await createAdminKey(accounts, home, 'bootstrap')
  else await accounts.createKey({ ...ADMIN, name: 'bootstrap' }, given)
}
