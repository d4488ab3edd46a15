#!/usr/bin/env node
// A worker process: takes runs from both lanes and executes them by the engine until it is asked to stop.
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { createArtifactStore } from '@fabrique/artifacts'
import { createDb, createRunStore } from '@fabrique/db'
import { createEngine, createHost, createReconciler } from '@fabrique/engine'
import { createConsumer, createRunQueue } from '@fabrique/queue'
import {
  ConfigurationError,
  createKillpoint,
  createLog,
  parseEnv,
  providerConfig,
  runService,
  systemClock,
  systemIds,
} from '@fabrique/runtime'
import { createProviders, createStandardCatalog, inspect } from '@fabrique/steps'
import { WorkerEnv } from './env.ts'

const log = createLog('worker', process.env.LOG_LEVEL)

await runService(
  log,
  async (life) => {
    const env = parseEnv(WorkerEnv, process.env)
    const reserved = env.INTERACTIVE_RESERVED ?? Math.max(1, Math.round(env.CONCURRENCY / 5))
    if (reserved > env.CONCURRENCY) throw new ConfigurationError('INTERACTIVE_RESERVED: must not exceed CONCURRENCY')
    const worker = `${hostname()}:${process.pid}`
    const ids = systemIds()
    const killpoint = createKillpoint(env)

    const db = life.own(createDb({ databaseUrl: env.DATABASE_URL, log }), (it) => it.close())
    const queue = life.own(createRunQueue({ redisUrl: env.REDIS_URL, prefix: env.REDIS_PREFIX, log }), (it) =>
      it.close(),
    )
    const store = createRunStore(db, ids, (events) => queue.publish(events))
    const engine = createEngine({
      store,
      queue,
      artifacts: createArtifactStore(env.ARTIFACT_STORE ?? join(resolve(env.FABRIQUE_HOME), 'artifacts')),
      catalog: createStandardCatalog(),
      providers: createProviders(providerConfig(env)),
      inspect,
      clock: systemClock,
      ids,
      log,
      worker,
      leaseMs: env.FABRIQUE_LEASE_MS,
      killpoint,
    })
    // Leases are renewed until the last run has been let go, not only until we are asked to stop.
    const renewing = life.own(new AbortController(), (it) => it.abort())
    const host = createHost({
      engine,
      store,
      clock: systemClock,
      log,
      leaseMs: env.FABRIQUE_LEASE_MS,
      stopped: renewing.signal,
    })
    const consumer = life.own(
      createConsumer({
        redisUrl: env.REDIS_URL,
        prefix: env.REDIS_PREFIX,
        concurrency: env.CONCURRENCY,
        reserved,
        lockMs: env.FABRIQUE_LEASE_MS,
        log,
        async handle(runId) {
          killpoint('W1')
          await host.execute(runId)
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
    consumer.start()
    log.info({ worker, concurrency: env.CONCURRENCY, reserved }, 'the worker takes runs')
  },
  { deadlineMs: 60_000 },
)
