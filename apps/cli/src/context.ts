// What every command works with: where runs are, where to print, and when to stop.
// Hides whether runs are executed here or on a server; the one that is not used is not loaded.
import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { jsonOnTerminal, onOneLine, onTerminal } from '@fabrique/schema'
import type { Backend } from './backend.ts'

export type Context = ReturnType<typeof createContext>

/**
 * A context for one command. `apiUrl` is the server that runs are on, which goes on without us; undefined for runs here.
 * `signal` is aborted by Ctrl-C, and by --timeout.
 */
export function createContext({
  apiUrl,
  json,
  signal,
}: {
  apiUrl: string | undefined
  json: boolean
  signal: AbortSignal
}) {
  let opened: Promise<Backend> | undefined
  const print = (text: string) => void process.stdout.write(`${onTerminal(text)}\n`)
  const say = (line: string, lead = '') => void process.stderr.write(`${lead}${onOneLine(line)}\n`)

  async function open(): Promise<Backend> {
    if (apiUrl !== undefined) return (await import('./remote.ts')).createRemote({ apiUrl, signal })
    return await (await import('./local.ts')).openLocal({ signal, say })
  }

  return {
    json,
    signal,
    apiUrl,
    /** Results on stdout. What servers and models say is cleaned of what would steer the terminal, here and in `say`. */
    print,
    /** A result on stdout: the resource as JSON where that was asked for, else the lines. */
    async show(resource: unknown, lines: () => readonly string[] | Promise<readonly string[]>): Promise<void> {
      if (json) print(jsonOnTerminal(resource, 2))
      else for (const line of await lines()) print(onOneLine(line))
    },
    /** Everything else, a line each, on stderr; `lead` goes before it as it is, colours and all. */
    say,
    /** The words that start this program again with these arguments, as a person would type them here. */
    hint(args: string): string {
      const program = isUnlinked() ? 'npx fab-workflow' : 'fab-workflow'
      return `${program} ${args}${apiUrl === undefined ? '' : ` --api-url ${apiUrl}`}`
    },
    /** Opened on first use, closed with the context. */
    backend: (): Promise<Backend> => (opened ??= open()),
    close: async (): Promise<void> => await (await opened?.catch(() => undefined))?.close(),
  }
}

/** Whether it was started by npx, or in the checkout, where npx finds it and a shell does not unless it was linked. */
function isUnlinked(): boolean {
  if (process.env.npm_command === 'exec') return true
  const below = relative(fileURLToPath(new URL('../../..', import.meta.url)), process.cwd())
  return !below.startsWith('..') && !below.startsWith('/')
}
