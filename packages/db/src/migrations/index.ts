// The migrations, oldest first: one file and one line each.
import type { Migration } from 'kysely/migration'
import * as foundation from './0001-foundation.ts'
import * as runTrees from './0002-run-trees.ts'
import * as webhooks from './0003-webhooks.ts'
import * as schedules from './0004-schedules.ts'
import * as runLists from './0005-run-lists.ts'
import * as eventOrder from './0006-event-order.ts'
import * as runPhases from './0007-run-phases.ts'
import * as callBills from './0008-call-bills.ts'
import * as accessTokens from './0009-access-tokens.ts'
import * as recordOutages from './0010-record-outages.ts'
import * as closedGates from './0011-closed-gates.ts'
import * as storedBytes from './0012-stored-bytes.ts'
import * as platformAdmins from './0013-platform-admins.ts'
import * as suspects from './0014-suspects.ts'
import * as webSessions from './0015-web-sessions.ts'

export const migrations: Record<string, Migration> = {
  '0001-foundation': foundation,
  '0002-run-trees': runTrees,
  '0003-webhooks': webhooks,
  '0004-schedules': schedules,
  '0005-run-lists': runLists,
  '0006-event-order': eventOrder,
  '0007-run-phases': runPhases,
  '0008-call-bills': callBills,
  '0009-access-tokens': accessTokens,
  '0010-record-outages': recordOutages,
  '0011-closed-gates': closedGates,
  '0012-stored-bytes': storedBytes,
  '0013-platform-admins': platformAdmins,
  '0014-suspects': suspects,
  '0015-web-sessions': webSessions,
}
