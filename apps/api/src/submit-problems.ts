// What a run-spec can be refused for once its document is whole.
import type { ErrorCode } from '@fabrique/schema'

export const SUBMIT_PROBLEMS: readonly ErrorCode[] = [
  'not-found',
  'not-runnable',
  'budget-exceeded',
  'provider-key-missing',
  'tool-unavailable',
  'idempotency-mismatch',
]
