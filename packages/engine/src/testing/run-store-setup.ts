// What the contract suites of run stores are given.
import type { RunError, RunEvent, RunStatus } from '@fabrique/schema'
import type { RunStore } from '../ports.ts'

/** An empty store with the organization `system`, and what a test needs beside the port. */
export interface RunStoreSetup {
  store: RunStore
  /** Another process's store over the same record. */
  beside(): RunStore
  /** Lets this much time pass for leases, deliveries, gates, days and idempotency keys. */
  advance(ms: number): Promise<void>
  /** The run as the record has it, events in order. */
  read(runId: string): Promise<{ status: RunStatus; error: RunError | null; events: RunEvent[] }>
  dispose(): Promise<void>
}
