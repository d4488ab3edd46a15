import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createArtifactStore } from '@fabrique/artifacts'
import { createPricingStore, createRunReader, createTemplateStore, seed, SYSTEM_ORGANIZATION } from '@fabrique/db'
import { createTestDb, type TestDb } from '@fabrique/db/testing'
import { artifactStoreConfig, createLog, parseEnv, systemIds } from '@fabrique/runtime'
import { readShippedDocuments } from '@fabrique/templates'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { CliEnv } from './env.ts'
import { createLocalExecution, type LocalExecution } from './local-execution.ts'

const folder = mkdtempSync(join(tmpdir(), 'fabrique-local-'))
let test: TestDb
const opened: LocalExecution[] = []

beforeAll(async () => {
  test = await createTestDb()
  const stores = { templates: createTemplateStore(test.db), pricing: createPricingStore(test.db) }
  await seed(stores, await readShippedDocuments())
})

afterAll(async () => {
  for (const execution of opened) await execution.close()
  await test?.drop()
  rmSync(folder, { recursive: true, force: true })
})

/** As a process of its own has it: what was delivered to another one is not here. */
function openExecution(): LocalExecution {
  const env = parseEnv(CliEnv, { FABRIQUE_PROVIDERS: 'simulated' })
  const log = createLog('test', 'silent')
  const execution = createLocalExecution({
    env,
    db: test.db,
    artifacts: createArtifactStore(artifactStoreConfig(env, folder), log),
    ids: systemIds(),
    log,
    leaseMs: 15_000,
  })
  opened.push(execution)
  return execution
}

it('takes up runs whose delivery is lost, slots too, and executes each once', async () => {
  const reader = createRunReader(test.db)
  const input = { topic: 'foxes', count: 2, variants: 2 }
  const submitted = await openExecution().submit({ workflow: 'hooks/generate', input }, false)
  const runId = submitted.outcome === 'accepted' ? submitted.run.id : ''
  const tree = () => reader.list(SYSTEM_ORGANIZATION, { root_run_id: runId }, 10, null)

  const other = openExecution()
  await other.drain()
  expect((await reader.get(SYSTEM_ORGANIZATION, runId))?.status).toBe('pending')
  const before = await tree()
  await other.pickUp(before)
  await other.pickUp(before)
  await other.drain()
  const run = await reader.get(SYSTEM_ORGANIZATION, runId)
  expect(run?.outputs.map(({ status }) => status)).toEqual(['completed', 'completed'])
  expect(run?.status).toBe('completed')
  const calls = (await reader.ledger(SYSTEM_ORGANIZATION, runId)) ?? []
  expect(new Set(calls.map((call) => `${call.runId} ${call.stepId}`)).size).toBe(calls.length)
})
