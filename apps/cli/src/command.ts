// What a command is: a function that adds itself to the program and says what to do when it is called.
// Hides nothing; it keeps commands free of processes, so that each is one file and one line in `commands/index.ts`.
import type { Command as Program } from 'commander'
import type { Context } from './context.ts'

/** Does the work of a command with its own options and arguments; answers the exit code, nothing where it is done. */
type Work = (context: Context, options: never, ...args: never[]) => Promise<number | void>

/** Turns work into commander's action: opens the context, closes it whatever happens, keeps the exit code. */
export type Act = (work: Work) => (this: Program, ...args: unknown[]) => Promise<void>

export type Command = (program: Program, act: Act) => void
