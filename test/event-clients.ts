// Clients of event streams as they are outside: they keep what they saw, and come back behind it when they are cut off.
// Hides HTTP and reconnection; an event that comes twice or out of turn is kept as it came, for the test to see.
import { type Agent, type ClientRequest, type IncomingMessage, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { createParser } from 'eventsource-parser'
import type { RunEvent } from '@fabrique/schema'

const AGAIN_MS = 50

export interface Seen {
  id: string
  event: RunEvent
  atMs: number
}

export interface EventClient {
  seen: Seen[]
  comments: string[]
  /** How often it was connected. */
  connections(): number
  /** Resolves when `fits` is true of what was seen. */
  until(fits: (seen: Seen[]) => boolean): Promise<Seen[]>
  /** Resolves when the server ended a stream that needs no more: 204, or after the terminal event. */
  over: Promise<void>
  /** Cuts the connection from this side; the client comes back behind what it saw. */
  drop(): void
  close(): void
}

/** Follows `path` until it is over or closed. `after` is sent with the first connection too. */
export function followEvents(options: {
  port: number
  path: string
  key: string
  after?: string
  agent?: Agent
}): EventClient {
  const { port, path, key, agent } = options
  const seen: Seen[] = []
  const comments: string[] = []
  const over = Promise.withResolvers<void>()
  const watchers = new Set<() => void>()
  let lastId = options.after
  let outgoing: ClientRequest | undefined
  let connections = 0
  let isClosed = false
  let isTerminal = false

  function open(): void {
    outgoing = request({
      host: '127.0.0.1',
      port,
      path,
      ...(agent === undefined ? { agent: false } : { agent }),
      headers: { authorization: `Bearer ${key}`, ...(lastId === undefined ? {} : { 'last-event-id': lastId }) },
    })
    // A connection that is reset says so by the request's error and by the response's end.
    let isGone = false
    const gone = () => {
      if (!isGone) comeBack()
      isGone = true
    }
    outgoing.once('response', (response) => hear(response, gone))
    outgoing.once('error', gone)
    outgoing.end()
  }

  function hear(response: IncomingMessage, gone: () => void): void {
    if (response.statusCode === 204) return finish()
    connections += 1
    const parser = createParser({
      onEvent({ id = '', data }) {
        const event = JSON.parse(data) as RunEvent
        lastId = id
        seen.push({ id, event, atMs: Date.now() })
        isTerminal ||= path.includes('/runs/') && /^workflow\.run\.(completed|failed|cancelled)$/.test(event.kind)
      },
      onComment: (comment) => comments.push(comment),
    })
    response.setEncoding('utf8')
    response.on('data', (text: string) => {
      parser.feed(text)
      for (const watcher of watchers) watcher()
    })
    response.once('error', () => {})
    response.once('close', gone)
  }

  function comeBack(): void {
    if (isClosed || isTerminal) return finish()
    setTimeout(open, AGAIN_MS)
  }

  function finish(): void {
    isClosed = true
    over.resolve()
  }

  open()
  return {
    seen,
    comments,
    connections: () => connections,
    over: over.promise,
    async until(fits) {
      const there = Promise.withResolvers<Seen[]>()
      const watcher = () => fits(seen) && there.resolve(seen)
      watchers.add(watcher)
      watcher()
      return await there.promise.finally(() => watchers.delete(watcher))
    },
    drop: () => outgoing?.destroy(),
    close() {
      isClosed = true
      outgoing?.destroy()
    },
  }
}

/** A connection that asks for a stream and never reads it. */
export async function openUnread(port: number, path: string, key: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  socket.pause()
  socket.on('error', () => {})
  const head = `GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\n\r\n`
  await new Promise((resolve) => socket.write(head, resolve))
  return socket
}
