// What an error says of the record: that it cannot be used now, or that two writers met. One table, by SQLSTATE.
// Hides PostgreSQL's codes, Node's, and the sentences of pg that have no code.
import { FabriqueError } from '@fabrique/schema'

/** The connection, the server or its state is the fault and not the statement, which may succeed later as it is. */
const AWAY = [
  '08', // connection exceptions
  '25006', // read-only: a standby, a demoted primary, a disk that is nearly full
  '25P03', // the session waited too long within a transaction
  '25P04', // the transaction took too long
  '53', // no room left: connections, memory, disk
  '55P03', // a lock was not to be had in time
  '57014', // the statement was given up
  '57P', // shutdown, crash, start-up, dropped
  '58', // errors of the system below PostgreSQL
  // Two writers met too often: see `isConflict`.
  '40001',
  '40P01',
  // What Node says of a socket.
  'ECONN',
  'EPIPE',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'EHOST',
  'ENET',
]
/** What pg says of a statement that was not answered in time. */
export const SILENT = 'Query read timeout'

const AWAY_WITHOUT_CODE = [
  'Connection terminated',
  SILENT,
  'timeout exceeded when trying to connect',
  'timeout expired',
  'connection error and is not queryable',
]

/** True for errors that say "not now". */
export function isAway(error: unknown): boolean {
  const { code, message } = error as { code?: string; message?: string }
  if (FabriqueError.is(error, 'unavailable')) return true
  if (typeof code === 'string' && code !== '') return AWAY.some((start) => code.startsWith(start))
  return AWAY_WITHOUT_CODE.some((words) => message?.includes(words) === true)
}

/** True where two transactions met and this one gave way: it left nothing behind, and is simply done again. */
export function isConflict(error: unknown): boolean {
  const { code, cause } = error as { code?: string; cause?: { code?: string } }
  return [code, cause?.code].some((one) => one === '40001' || one === '40P01')
}

/**
 * True where the statement's data is the fault: 22 are values that their type cannot hold, 54 are too deep or too large,
 * and a RangeError is the same said by Node.
 */
export function isUnstorable(error: unknown): boolean {
  const { code } = error as { code?: unknown }
  return error instanceof RangeError || (typeof code === 'string' && /^(22|54)[0-9A-Z]{3}$/.test(code))
}

/** Throws `unavailable` where the record is away, the error itself otherwise. */
export function rethrow(error: unknown): never {
  if (!isAway(error)) throw error
  throw new FabriqueError('unavailable', 'The database cannot be used at the moment; nothing was changed.', {
    cause: error,
    retryAfterS: 2,
  })
}
