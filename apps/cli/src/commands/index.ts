// The command table: one line per command, in the order of the help.
import type { Command } from '../command.ts'
import { approve } from './approve.ts'
import { cancel } from './cancel.ts'
import { list } from './list.ts'
import { reject } from './reject.ts'
import { run } from './run.ts'
import { status } from './status.ts'
import { workflows } from './workflows.ts'

export const commands: readonly Command[] = [run, approve, reject, status, cancel, list, workflows]
