#!/usr/bin/env node
// A worker process: takes runs from both lanes and executes them by the engine until it is asked to stop.
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { createArtifactStore } from '@fabrique/artifacts'
import { assemble, assembleHost } from '@fabrique/assembly'
import { createDb, createDeliveryStore, createScheduleStore } from '@fabrique/db'
import { cancelRun, createReconciler, createScheduler } from '@fabrique/engine'
import { createConsumer, createLimits, createRunQueue } from '@fabrique/queue'
import {
  artifactStoreConfig,
  ConfigurationError,
  createKillpoint,
  createLog,
  parseEnv,
  providerLimits,
  runService,
  systemClock,
  systemIds,
} from '@fabrique/runtime'
import { createDispatcher, createSender } from '@fabrique/webhooks'
import { WorkerEnv } from './env.ts'
import { notingFailures } from './failed-runs.ts'

/** What is staged longer than this belongs to nobody: a run that is delivered again adopts it within minutes. */
const STAGED_KEPT_MS = 7 * 86_400_000
const SWEEP_EVERY_MS = 3_600_000
/** How late a schedule fires at most, while a worker lives. */
const SCHEDULES_EVERY_MS = 1_000

const log = createLog('worker', process.env.LOG_LEVEL)

await runService(
  log,
  async (life) => {
    const env = parseEnv(WorkerEnv, process.env)
    const killpoint = createKillpoint(env)
    const storeConfig = artifactStoreConfig(env, join(resolve(env.FABRIQUE_HOME), 'artifacts'))
    const artifacts = createArtifactStore(storeConfig, log, killpoint)
    const sweep = () => void artifacts.sweep(STAGED_KEPT_MS)
    sweep()
    life.own(setInterval(sweep, SWEEP_EVERY_MS), clearInterval)
    const reserved = env.INTERACTIVE_RESERVED ?? Math.max(1, Math.round(env.CONCURRENCY / 5))
    if (reserved > env.CONCURRENCY) throw new ConfigurationError('INTERACTIVE_RESERVED: must not exceed CONCURRENCY')
    const rules = providerLimits(env)
    const worker = `${hostname()}:${process.pid}`

    const db = life.own(createDb({ databaseUrl: env.DATABASE_URL, log }), (it) => it.close())
    const redis = { redisUrl: env.REDIS_URL, prefix: env.REDIS_PREFIX }
    const runQueue = life.own(createRunQueue({ ...redis, log }), (it) => it.close())
    const { queue, codeOfFailure } = notingFailures(runQueue)
    const limits = life.own(createLimits({ rules, shared: redis, log }), (it) => it.close())
    const assembly = assemble({ env, db, queue, ids: systemIds(), killpoint })
    const { runs: store, catalog } = assembly
    life.own(assembly.intake, (it) => it.close())
    for (const { scope } of rules) {
      const [provider = ''] = scope.split('/')
      if (catalog.provider(provider) === undefined)
        throw new ConfigurationError(`PROVIDER_LIMITS: there is no provider "${provider}"`)
    }
    // Leases are renewed until the last run has been let go, not only until we are asked to stop.
    const renewing = life.own(new AbortController(), (it) => it.abort())
    const leaseMs = env.FABRIQUE_LEASE_MS
    const host = assembleHost(assembly, { artifacts, limits, log, worker, leaseMs, stopped: renewing.signal })
    const consumer = life.own(
      createConsumer({
        ...redis,
        concurrency: env.CONCURRENCY,
        reserved,
        organizationMax: env.ORGANIZATION_RUNS_MAX,
        lockMs: leaseMs,
        log,
        async handle(runId) {
          killpoint('W1')
          return await codeOfFailure(runId, () => host.execute(runId))
        },
        onCancel: (rootRunId) => host.cancel(rootRunId),
      }),
      (it) => it.close(),
    )
    life.own(host, async () => {
      // What ends within the grace is left alone; the rest is handed back behind its last checkpoint.
      const grace = setTimeout(() => void host.shutdown(), env.FABRIQUE_GRACE_MS)
      await consumer.drain()
      clearTimeout(grace)
    })
    const reconciler = createReconciler({ store, queue, clock: systemClock, log, killpoint })
    void life.own(reconciler.run(env.FABRIQUE_RECONCILE_MS, life.stopping), (running) => running)
    const sender = life.own(createSender({ allowPrivate: env.FABRIQUE_ALLOW_PRIVATE_WEBHOOKS === '1' }), (it) =>
      it.close(),
    )
    const dispatcher = createDispatcher({ store: createDeliveryStore(db), sender, clock: systemClock, log, killpoint })
    void life.own(dispatcher.run(life.stopping), (running) => running)
    const scheduler = createScheduler({
      store: createScheduleStore(db),
      submitter: assembly.submitter,
      cancel: (runId) => cancelRun({ runs: store, queue }, runId),
      clock: systemClock,
      log,
    })
    void life.own(scheduler.run(Math.min(env.FABRIQUE_RECONCILE_MS, SCHEDULES_EVERY_MS), life.stopping), (it) => it)
    consumer.start()
    log.info({ worker, concurrency: env.CONCURRENCY, reserved }, 'the worker takes runs')
  },
  { deadlineMs: 60_000 },
)
