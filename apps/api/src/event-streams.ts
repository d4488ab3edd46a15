// Answers that go on: how many may be open, a comment now and then, and an end for readers that do not read.
// Hides Node's response behind the few things that a feed does with a stream.
import type { ServerResponse } from 'node:http'
import { FabriqueError, type RunEvent } from '@fabrique/schema'

/** A reader that lets this much pile up is cut off; it can come back with Last-Event-ID. */
const UNREAD_BYTES_MAX = 1_048_576
/** Written in pieces, so that a slow reader can be told from one that does not read. */
const PIECE_BYTES = 65_536
const COMMENT_EVERY_MS = 15_000
const LOOK_EVERY_MS = 1_000
/** What waits for a reader when the process stops. */
const LAST_WORDS_MS = 2_000
const COMMENT = Buffer.from(': still here\n\n')

export interface EventStreamLimits {
  /** Streams open at once in this process. */
  streamsMax: number
  /** Of these, by one key. */
  streamsPerKeyMax: number
  /** A reader that takes nothing for so long while something waits for it is cut off. Default 30,000. */
  writeDeadlineMs?: number
}

export interface EventStream {
  readonly closed: boolean
  /** Queues whole frames. Cuts the reader off instead where too much waits for it already. */
  write(frames: Buffer): void
  /** Resolves when little waits to be read, or the stream is closed. */
  drained(): Promise<void>
  /** Calls `listener` once, when the stream is closed by whomever. */
  onClose(listener: () => void): void
  end(): void
}

export interface EventStreams {
  /** Answers with an open stream. Throws `quota-exceeded` where the key or the process has as many as it may have. */
  open(request: { keyId: string; requestId: string; response: ServerResponse }): EventStream
}

interface OpenStream {
  response: ServerResponse
  commentAtMs: number
  handedBytes: number
  takenBytes: number
  takenAtMs: number
}

/** The event streams of a process; `stopping` ends them all. */
export function createEventStreams(limits: EventStreamLimits, stopping: AbortSignal): EventStreams {
  const { streamsMax, streamsPerKeyMax, writeDeadlineMs = 30_000 } = limits
  const lookEveryMs = Math.min(LOOK_EVERY_MS, writeDeadlineMs / 4)
  const open = new Set<OpenStream>()
  const byKey = new Map<string, number>()
  let timer: NodeJS.Timeout | undefined

  stopping.addEventListener('abort', () => {
    for (const { response } of open) response.end()
    setTimeout(() => {
      for (const { response } of open) response.destroy()
    }, LAST_WORDS_MS).unref()
  })

  function look(): void {
    const nowMs = performance.now()
    for (const stream of open) {
      const { response } = stream
      if (nowMs >= stream.commentAtMs) {
        stream.commentAtMs = nowMs + COMMENT_EVERY_MS
        write(stream, COMMENT)
      }
      // What waits counts its framing too: without a reader this figure falls, and never rises.
      const takenBytes = stream.handedBytes - response.writableLength
      if (takenBytes > stream.takenBytes || response.writableLength === 0) stream.takenAtMs = nowMs
      stream.takenBytes = takenBytes
      if (nowMs - stream.takenAtMs > writeDeadlineMs) response.destroy()
    }
  }

  function enter(stream: OpenStream, keyId: string): void {
    open.add(stream)
    byKey.set(keyId, (byKey.get(keyId) ?? 0) + 1)
    timer ??= setInterval(look, lookEveryMs)
  }

  function leave(stream: OpenStream, keyId: string): void {
    open.delete(stream)
    const left = (byKey.get(keyId) ?? 1) - 1
    if (left === 0) byKey.delete(keyId)
    else byKey.set(keyId, left)
    if (open.size > 0) return
    clearInterval(timer)
    timer = undefined
  }

  return {
    open({ keyId, requestId, response }) {
      if (open.size >= streamsMax) throw tooMany(`This server has its ${streamsMax} event streams open already`)
      if ((byKey.get(keyId) ?? 0) >= streamsPerKeyMax)
        throw tooMany(`This key has its ${streamsPerKeyMax} event streams open already; close some`)
      const nowMs = performance.now()
      const stream: OpenStream = {
        response,
        commentAtMs: nowMs + COMMENT_EVERY_MS,
        handedBytes: 0,
        takenBytes: 0,
        takenAtMs: nowMs,
      }
      const listeners: (() => void)[] = []
      // A client may be gone before we begin; it says so no more.
      if (!response.destroyed) {
        enter(stream, keyId)
        response.once('close', () => {
          leave(stream, keyId)
          for (const listener of listeners) listener()
        })
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
          else listeners.push(listener)
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
  stream.handedBytes += frames.length
  for (let at = 0; at < frames.length; at += PIECE_BYTES) response.write(frames.subarray(at, at + PIECE_BYTES))
}

function tooMany(what: string): FabriqueError {
  return new FabriqueError('quota-exceeded', `${what}.`, { retryAfterS: 5 })
}

/** One event as a frame; the JSON has no raw line breaks, so one `data:` line holds it. */
export function frameOf(id: string | number, event: RunEvent): Buffer {
  return Buffer.from(`id: ${id}\nevent: ${event.kind}\ndata: ${JSON.stringify(event)}\n\n`)
}
