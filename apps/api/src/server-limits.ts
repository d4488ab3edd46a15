// What a client may take its time for: half a head, a body that drips, and how many connections there may be.
// Hides the clocks; a body that we are not ready to read is never the client's fault.
import { createServer, type IncomingMessage, type Server, type ServerOptions, type ServerResponse } from 'node:http'

export interface ServerLimits {
  connectionsMax: number
  /** Until the head of a request must be complete. Default 10,000. */
  headMs?: number
  /** How long a body may bring less than `dripBytes` (default 1,024) before it is given up. Default 20,000. */
  dripMs?: number
  dripBytes?: number
}

const TOO_SLOW = 'HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n'

/** `createServer` of node:http under these limits. The whole of a request has Node's own, 300 s. */
export function limitedServer(limits: ServerLimits): typeof createServer {
  const { connectionsMax, headMs = 10_000, dripMs = 20_000, dripBytes = 1_024 } = limits

  function limited(
    options: ServerOptions,
    handle: (request: IncomingMessage, response: ServerResponse) => void,
  ): Server {
    const server = createServer({ ...options, headersTimeout: headMs, connectionsCheckingInterval: headMs / 4 }, handle)
    server.maxConnections = connectionsMax
    const bodies = new Map<IncomingMessage, { response: ServerResponse; bytes: number; sinceMs: number }>()
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      if (request.headers['content-length'] === undefined && request.headers['transfer-encoding'] === undefined) return
      bodies.set(request, { response, bytes: request.socket.bytesRead, sinceMs: performance.now() })
      request.once('close', () => bodies.delete(request))
    })
    const timer = setInterval(() => {
      const nowMs = performance.now()
      for (const [request, seen] of bodies) {
        const { socket } = request
        if (request.complete) bodies.delete(request)
        else if (request.readableLength > 0 || socket.bytesRead - seen.bytes >= dripBytes) {
          bodies.set(request, { ...seen, bytes: socket.bytesRead, sinceMs: nowMs })
        } else if (nowMs - seen.sinceMs > dripMs) {
          bodies.delete(request)
          // An answer that has begun cannot become another one.
          if (!seen.response.headersSent) socket.write(TOO_SLOW)
          socket.destroySoon()
        }
      }
    }, dripMs / 4).unref()
    server.on('close', () => clearInterval(timer))
    return server
  }
  return limited as typeof createServer
}
