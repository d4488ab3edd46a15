// What every command works with: where runs are, where to print, and when to stop.
// Hides whether runs are executed here or on a server; the one that is not used is not loaded.
import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Backend } from './backend.ts'

export interface Context {
  json: boolean
  /** Aborted by Ctrl-C, and by --timeout. */
  signal: AbortSignal
  /** The server that runs are on, which goes on without us; absent for runs here. */
  apiUrl: string | undefined
  /** Results, a line each, on stdout. */
  print(line: string): void
  /** A result on stdout: the resource as JSON where that was asked for, else the lines. */
  show(resource: unknown, lines: () => readonly string[] | Promise<readonly string[]>): Promise<void>
  /** Everything else, on stderr. */
  say(line: string): void
  /** The words that start this program again with these arguments, as a person would type them here. */
  hint(args: string): string
  /** Opened on first use, closed with the context. */
  backend(): Promise<Backend>
  close(): Promise<void>
}

/** A context for one command. */
export function createContext(options: { apiUrl: string | undefined; json: boolean; signal: AbortSignal }): Context {
  const { apiUrl, json, signal } = options
  let opened: Promise<Backend> | undefined
  const print = (line: string) => void process.stdout.write(`${line}\n`)
  const say = (line: string) => void process.stderr.write(`${line}\n`)

  async function open(): Promise<Backend> {
    if (apiUrl !== undefined) return (await import('./remote.ts')).createRemote({ apiUrl, signal })
    return await (await import('./local.ts')).openLocal({ signal, say })
  }

  return {
    json,
    signal,
    apiUrl,
    print,
    async show(resource, lines) {
      for (const line of json ? [JSON.stringify(resource, null, 2)] : await lines()) print(line)
    },
    say,
    hint(args) {
      const program = isUnlinked() ? 'npx fab-workflow' : 'fab-workflow'
      return `${program} ${args}${apiUrl === undefined ? '' : ` --api-url ${apiUrl}`}`
    },
    backend: () => (opened ??= open()),
    close: async () => await (await opened?.catch(() => undefined))?.close(),
  }
}

/** Whether it was started by npx, or in the checkout, where npx finds it and a shell does not unless it was linked. */
function isUnlinked(): boolean {
  if (process.env.npm_command === 'exec') return true
  const below = relative(fileURLToPath(new URL('../../..', import.meta.url)), process.cwd())
  return !below.startsWith('..') && !below.startsWith('/')
}
