/**
 * Lets one process at a time start or stop the servers of a home folder.
 * Hides that the lock is an exclusive SQLite transaction: the kernel drops it with its holder, even after SIGKILL.
 */
import { chmodSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as delay } from 'node:timers/promises'
import { serviceError } from './service-error.ts'

const POLL_MS = 50
const SQLITE_BUSY = 5

/** Runs `work` while holding the lock kept in `file`; waits for other holders, up to `timeoutMs` (default 3 minutes). */
export async function withLock<T>(file: string, work: () => Promise<T>, timeoutMs = 180_000): Promise<T> {
  const lock = new DatabaseSync(file)
  chmodSync(file, 0o600)
  try {
    const deadline = Date.now() + timeoutMs
    while (!tryLock(lock)) {
      if (Date.now() >= deadline) {
        throw serviceError(
          `Another process has held ${file} for ${timeoutMs / 1000} s. Stop it (fuser ${file}), then try again.`,
        )
      }
      await delay(POLL_MS)
    }
    return await work()
  } finally {
    lock.close()
  }
}

function tryLock(lock: DatabaseSync): boolean {
  try {
    lock.exec('BEGIN EXCLUSIVE')
    return true
  } catch (error) {
    if (error instanceof Error && 'errcode' in error && error.errcode === SQLITE_BUSY) return false
    throw error
  }
}
