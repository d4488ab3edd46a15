// How the API leaves: it says so, serves what still comes, answers what it has in hand, and closes every connection.
// Hides which sockets have a request in hand: the others are closed without asking their clients.
import { once } from 'node:events'
import type { createServer, IncomingMessage, Server, ServerOptions, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises'

type Handle = (request: IncomingMessage, response: ServerResponse) => void

/** A client that has just connected gets its request here within this. */
const ARRIVAL_MS = 300
const TURNS_MAX = 10_000

export interface Leaving {
  /** `createServer` of node:http for the one server that will leave. */
  createServer: typeof createServer
  /**
   * For `noticeMs` new connections and requests are still taken, and told that theirs is the last of their connection.
   * Then no connection is taken any longer, those without a request are closed, and those with one after its answer, or
   * after `graceMs`. Resolves when all are closed.
   */
  leave(times: { noticeMs: number; graceMs: number }): Promise<void>
}

/** A way to leave for the server that `create` will make. */
export function createLeaving(create: typeof createServer): Leaving {
  const sockets = new Set<Socket>()
  const inHand = new Set<ServerResponse>()
  let server: Server | undefined
  let taken = 0
  let isLeaving = false
  let isClosing = false
  /** Requests that begin once the server is closed; null while they begin at once. */
  let held: (() => void)[] | null = null

  function leavable(options: ServerOptions, handle: Handle): Server {
    server = create(options, (request, response) => {
      inHand.add(response)
      if (isLeaving) announce(response)
      response.once('close', () => {
        inHand.delete(response)
        if (isClosing) request.socket.destroySoon()
      })
      if (held === null) handle(request, response)
      else held.push(() => handle(request, response))
    })
    server.on('connection', (socket) => {
      taken += 1
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
    })
    return server
  }

  function announce(response: ServerResponse): void {
    if (!response.headersSent) response.setHeader('connection', 'close')
  }

  /** Closes the server once it has taken every connection that waits for it: the kernel resets the others. */
  async function closeEmpty(it: Server): Promise<void> {
    // A busy process would never come to the last connection if it also did what the others ask for.
    held = []
    let before = -1
    for (let turns = 0; turns < TURNS_MAX && taken > before; turns += 1) {
      before = taken
      await nextTurn()
    }
    it.close()
    const begin = held
    held = null
    for (const one of begin) one()
  }

  return {
    createServer: leavable as typeof createServer,
    async leave({ noticeMs, graceMs }) {
      if (server === undefined) return
      isLeaving = true
      for (const response of inHand) announce(response)
      await delay(noticeMs)
      isClosing = true
      const closed = once(server, 'close')
      await closeEmpty(server)
      await delay(ARRIVAL_MS)
      const busy = new Set([...inHand].map(({ socket }) => socket))
      for (const socket of sockets) if (!busy.has(socket)) socket.destroy()
      const timer = setTimeout(() => server?.closeAllConnections(), graceMs)
      await closed
      clearTimeout(timer)
    },
  }
}
