import { createFakeClock } from './fake-clock.ts'
import { createMemoryRunStore } from './memory-run-store.ts'
import { runStoreContract } from './run-store-contract.ts'
import { createSequentialIds } from './sequential-ids.ts'

runStoreContract('the run store in memory', async () => {
  const clock = createFakeClock()
  const store = createMemoryRunStore({ clock, ids: createSequentialIds('9') })
  return {
    store,
    beside: () => store,
    advance: async (ms) => clock.advance(ms),
    async read(runId) {
      const run = store.read(runId)
      if (run === null) throw new Error('there is no such run')
      return { status: run.status, error: run.error, events: run.events }
    },
    dispose: async () => {},
  }
})
