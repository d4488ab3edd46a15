// The command table: one line per command, in the order of the help.
import type { Command } from '../command.ts'
import { cancel } from './cancel.ts'
import { completion } from './completion.ts'
import { docs } from './docs.ts'
import { estimate } from './estimate.ts'
import { events } from './events.ts'
import { list } from './list.ts'
import { pull } from './pull.ts'
import { retry } from './retry.ts'
import { approve, reject } from './review.ts'
import { status } from './status.ts'
import { workflows } from './workflows.ts'

export { root } from './root.ts'

export const commands: readonly Command[] = [
  workflows,
  docs,
  estimate,
  list,
  status,
  events,
  approve,
  reject,
  cancel,
  retry,
  pull,
  completion,
]
