// Server-sent event streams: how many may be open, a comment to keep connections alive, and an end for stalled readers.
// Hides Node's response behind the few things that a feed does with a stream.
import type { ServerResponse } from 'node:http'
import { FabriqueError, type RunEvent } from '@fabrique/schema'

/** A client that leaves this much unread is disconnected; it can come back with Last-Event-ID. */
const UNREAD_BYTES_MAX = 1_048_576
/** Frames are written in pieces of this size, because Node counts a write as unread until all of it was sent. */
const PIECE_BYTES = 65_536
const COMMENT_EVERY_MS = 15_000
const CHECK_EVERY_MS = 1_000
/** When the process stops, clients have so long to read what was written. */
const FLUSH_LIMIT_MS = 2_000
const COMMENT = Buffer.from(': still here\n\n')

export interface EventStreamLimits {
  /** Streams open at once in this process. */
  streamsMax: number
  /** Of these, by one key. */
  streamsPerKeyMax: number
  /** A client that reads nothing for so long although data waits for it is disconnected. Default 30,000. */
  writeDeadlineMs?: number
}

export interface EventStream {
  readonly closed: boolean
  /** Queues whole frames, or disconnects the client where more than 1 MiB is unread already. */
  write(frames: Buffer): void
  /** Resolves when Node's buffer has room again, or the stream is closed. */
  drained(): Promise<void>
  /** Calls `listener` once, when either side has closed the stream; at once where that has happened. */
  onClose(listener: () => void): void
  end(): void
}

export interface EventStreams {
  /** Answers the request by an open stream. Throws `quota-exceeded` where the key or the process has its maximum. */
  open(request: { keyId: string; requestId: string; response: ServerResponse }): EventStream
}

interface OpenStream {
  keyId: string
  response: ServerResponse
  commentAtMs: number
  writtenBytes: number
  /** Of the written bytes those that the client's connection took, and when it last took some. */
  readBytes: number
  readAtMs: number
}

/** The event streams of a process; an abort of `stopping` ends them all. */
export function createEventStreams(limits: EventStreamLimits, stopping: AbortSignal): EventStreams {
  const { streamsMax, streamsPerKeyMax, writeDeadlineMs = 30_000 } = limits
  const checkEveryMs = Math.min(CHECK_EVERY_MS, writeDeadlineMs / 4)
  const open = new Set<OpenStream>()
  let timer: NodeJS.Timeout | undefined

  stopping.addEventListener('abort', () => {
    for (const { response } of open) response.end()
    setTimeout(() => {
      for (const { response } of open) response.destroy()
    }, FLUSH_LIMIT_MS).unref()
  })

  /** Writes comments that are due, and disconnects clients that read nothing. */
  function check(): void {
    const nowMs = performance.now()
    for (const stream of open) {
      const { response } = stream
      if (nowMs >= stream.commentAtMs) {
        stream.commentAtMs = nowMs + COMMENT_EVERY_MS
        write(stream, COMMENT)
      }
      // `writableLength` includes HTTP's chunk framing, `writtenBytes` does not. So while a client reads nothing the
      // difference only falls, and a rise proves that it reads.
      const readBytes = stream.writtenBytes - response.writableLength
      if (readBytes > stream.readBytes || response.writableLength === 0) stream.readAtMs = nowMs
      stream.readBytes = readBytes
      if (nowMs - stream.readAtMs > writeDeadlineMs) response.destroy()
    }
  }

  function remove(stream: OpenStream): void {
    open.delete(stream)
    if (open.size > 0) return
    clearInterval(timer)
    timer = undefined
  }

  return {
    open({ keyId, requestId, response }) {
      if (open.size >= streamsMax) throw tooMany(`This server has its ${streamsMax} event streams open already`)
      if ([...open].filter((stream) => stream.keyId === keyId).length >= streamsPerKeyMax)
        throw tooMany(`This key has its ${streamsPerKeyMax} event streams open already; close some`)
      const nowMs = performance.now()
      const stream: OpenStream = {
        keyId,
        response,
        commentAtMs: nowMs + COMMENT_EVERY_MS,
        writtenBytes: 0,
        readBytes: 0,
        readAtMs: nowMs,
      }
      // The client may have disconnected already: then there will be no `close` event to count the stream out again.
      if (!response.destroyed) {
        open.add(stream)
        timer ??= setInterval(check, checkEveryMs)
        response.once('close', () => remove(stream))
        response.writeHead(200, {
          'content-type': 'text/event-stream; charset=utf-8',
          'cache-control': 'no-store',
          'x-accel-buffering': 'no',
          'x-request-id': requestId,
        })
        response.flushHeaders()
        if (stopping.aborted) response.end()
      }
      return {
        get closed() {
          return response.destroyed || response.writableEnded
        },
        write: (frames) => write(stream, frames),
        async drained() {
          if (response.destroyed || !response.writableNeedDrain) return
          const { promise, resolve } = Promise.withResolvers<void>()
          response.once('drain', resolve).once('close', resolve)
          await promise
          response.off('drain', resolve).off('close', resolve)
        },
        onClose(listener) {
          if (response.destroyed || response.writableEnded) listener()
          else response.once('close', listener)
        },
        end: () => response.end(),
      }
    },
  }
}

function write(stream: OpenStream, frames: Buffer): void {
  const { response } = stream
  if (response.destroyed || response.writableEnded) return
  if (response.writableLength > UNREAD_BYTES_MAX) {
    response.destroy()
    return
  }
  stream.writtenBytes += frames.length
  for (let at = 0; at < frames.length; at += PIECE_BYTES) response.write(frames.subarray(at, at + PIECE_BYTES))
}

function tooMany(what: string): FabriqueError {
  return new FabriqueError('quota-exceeded', `${what}.`, { retryAfterS: 5 })
}

/** An event as an SSE frame; JSON has no raw line breaks, so one `data:` line holds it. */
export function frameOf(id: string | number, event: RunEvent): Buffer {
  return Buffer.from(`id: ${id}\nevent: ${event.kind}\ndata: ${JSON.stringify(event)}\n\n`)
}
