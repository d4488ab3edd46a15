// The command line: what it offers, and how a command's outcome becomes an exit code.
// Hides commander and signals; everything heavy is imported by the command that needs it, so that help is fast.
import { Command, CommanderError } from 'commander'
import type { Act } from './command.ts'
import { commands, root } from './commands/index.ts'
import { durationMs } from './option-values.ts'
import { EXIT } from './exit.ts'

const EXAMPLES = `Make a run-spec to fill in, then run it, here and now:
  fab-workflow workflows
  fab-workflow --scaffold category/name -o run.yaml
  fab-workflow --from-file run.yaml
The same file with other values:
  fab-workflow --from-file run.yaml --input style=outline --input extras="holding a lantern"
See what it would do and cost, without doing it:
  fab-workflow --from-file run.yaml --dry-run
Run several workflows that feed each other, and keep what they make:
  fab-workflow --run-set examples/workflow-sets/chained.yaml -o out
Decide a run that stopped at its review, then take its files:
  fab-workflow approve 01J6N3YV2H3K8E7XR4M2YT5VAW
  fab-workflow pull 01J6N3YV2H3K8E7XR4M2YT5VAW -d out
Send the same run to a server, and follow it:
  FABRIQUE_API_KEY=fab_… fab-workflow --from-file run.yaml --api-url http://127.0.0.1:3000 --watch
`

const EXIT_CODES = `
Exit codes: 0 done, 1 run failed, 2 invalid (nothing started), 3 partial, 4 not allowed, 5 cancelled,
6 stopped at review, 7 timeout, 8 unreachable, 130 interrupted. Results go to stdout, everything else to stderr.
`

/** After this long a second Ctrl-C ends the process at once; npx passes the first one on as a second. */
const INSISTING_MS = 1_000
const TIMED_OUT = 'timeout'

const interrupt = new AbortController()
let exitCode: number = EXIT.done

const program = new Command('fab-workflow')
  .description('Runs workflows: here, or on a Fabrique server with --api-url.')
  .usage(
    '--from-file FILE [options]\n       fab-workflow --scaffold WORKFLOW [options]\n       fab-workflow --run-set FILE [STAGE]... [options]\n       fab-workflow COMMAND [options]',
  )
  .option('--api-url <url>', 'use this server, with the key in FABRIQUE_API_KEY, instead of running here')
  .option('--json', 'print the resource as JSON on stdout')
  .option('--timeout <duration>', 'give up after 90s, 5m or 1h: runs here are cancelled, a server goes on', durationMs)
  .addHelpText('before', EXAMPLES)
  .addHelpText('after', EXIT_CODES)
  .exitOverride()

interface SharedOptions {
  apiUrl?: string
  json?: boolean
  timeout?: number
}

const act: Act = (work) =>
  async function action(this: Command, ...args: unknown[]) {
    // What the shell gave: options and the command itself are commander's last two arguments.
    const given = args.slice(0, -2) as never[]
    const { apiUrl, json = false, timeout } = this.optsWithGlobals<SharedOptions>()
    const { createContext } = await import('./context.ts')
    const context = createContext({ apiUrl, json, signal: interrupt.signal })
    const timer = timeout === undefined ? undefined : setTimeout(() => interrupt.abort(TIMED_OUT), timeout)
    try {
      // Options that the program has too are taken by it, wherever they stand.
      exitCode = (await work(context, this.optsWithGlobals<never>(), ...given)) ?? EXIT.done
    } finally {
      clearTimeout(timer)
      await context.close()
    }
  }

root(program, act)
// A stage may have the name of a command, and an argument that names a command is one to commander.
const isRunSet = process.argv.some((argument) => argument === '--run-set' || argument.startsWith('--run-set='))
if (!isRunSet) for (const command of commands) command(program, act)

let interruptedAt = 0
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (interruptedAt === 0) {
      interruptedAt = performance.now()
      interrupt.abort(signal)
    } else if (performance.now() - interruptedAt > INSISTING_MS) process.exit(EXIT.interrupted)
  })
}
// A reader that went away (`| head`) ends what we print, not what we do.
process.stdout.on('error', () => {})
process.stderr.on('error', () => {})

const isOutOfTime = () => interrupt.signal.reason === TIMED_OUT && interruptedAt === 0
try {
  await program.parseAsync()
  if (isOutOfTime() && exitCode === EXIT.cancelled) exitCode = EXIT.timeout
} catch (error) {
  if (isOutOfTime()) {
    process.stderr.write('The time given by --timeout is over.\n')
    exitCode = EXIT.timeout
  } else if (interrupt.signal.aborted) process.stderr.write('Interrupted.\n')
  else if (error instanceof CommanderError) exitCode = error.exitCode === 0 ? EXIT.done : EXIT.invalid
  else exitCode = (await import('./failure.ts')).reportFailure(error)
}
process.exitCode = interruptedAt > 0 ? EXIT.interrupted : exitCode
