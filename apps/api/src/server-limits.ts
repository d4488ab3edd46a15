// Limits on slow clients: how long a request's head may take, how slowly its body may come, how many may connect.
// Hides the timers. A body that waits because we do not read it yet is never counted against the client.
import { createServer, type IncomingMessage, type Server, type ServerOptions, type ServerResponse } from 'node:http'

export interface ServerLimits {
  connectionsMax: number
  /** The head of a request must be complete after so long. Default 10,000. */
  headMs?: number
  /** A body that brings less than `dripBytes` (default 1,024) in so long is refused. Default 20,000. */
  dripMs?: number
  dripBytes?: number
}

const TOO_SLOW = 'HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n'

/** `createServer` of node:http under these limits; Node's own limit of 300 s for a whole request stays. */
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
          // Once an answer has begun, no other can be sent.
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
