// The organization's events, by one stream for all tabs of the browser: HTTP/1.1 allows six connections to a host.
// Hides which tab holds the stream: whoever has the lock reads it and tells the others.
import type { EventKind, RunEvent } from '@fabrique/schema'

const NAME = 'fabrique-events'
const RETRY_MS = [500, 1_000, 2_000, 4_000, 5_000]

const KINDS = Object.keys({
  'workflow.run.created': 0,
  'workflow.run.queued': 0,
  'workflow.run.started': 0,
  'workflow.run.waiting': 0,
  'workflow.run.completed': 0,
  'workflow.run.failed': 0,
  'workflow.run.cancelled': 0,
  'workflow.node.started': 0,
  'workflow.node.progress': 0,
  'workflow.node.completed': 0,
  'workflow.node.failed': 0,
  'workflow.node.skipped': 0,
  'workflow.node.retrying': 0,
  'workflow.artifact.created': 0,
} satisfies Record<EventKind, 0>)

export type Connection = 'connecting' | 'live' | 'lost'
type Message =
  | { type: 'event'; event: RunEvent }
  | { type: 'connection'; connection: Connection }
  /** Events may have been missed: everything that is shown is to be asked for again. */
  | { type: 'gap' }
  | { type: 'hello' }

export interface Listener {
  onEvent(event: RunEvent): void
  onGap(): void
  onConnection(connection: Connection): void
  /** Whether it makes sense to connect again: false once nobody is signed in. */
  mayConnect(): Promise<boolean>
}

/** Follows until the signal is aborted. */
export function followEvents(listener: Listener, signal: AbortSignal): void {
  const channel = new BroadcastChannel(NAME)
  let leading: Connection | null = null

  function hear(message: Message): void {
    if (message.type === 'event') listener.onEvent(message.event)
    else if (message.type === 'gap') listener.onGap()
    else if (message.type === 'connection') listener.onConnection(message.connection)
    else if (leading !== null) channel.postMessage({ type: 'connection', connection: leading } satisfies Message)
  }
  function tell(message: Message): void {
    channel.postMessage(message)
    hear(message)
  }
  channel.onmessage = ({ data }: MessageEvent<Message>) => hear(data)
  channel.postMessage({ type: 'hello' } satisfies Message)
  signal.addEventListener('abort', () => channel.close())

  function say(connection: Connection): void {
    if (signal.aborted) return
    leading = connection
    tell({ type: 'connection', connection })
  }

  /** One connection; resolves when it is lost. */
  function connect(): Promise<void> {
    return new Promise((resolve) => {
      const source = new EventSource('/v1/events/stream')
      const end = () => {
        source.close()
        resolve()
      }
      source.onopen = () => {
        failures = 0
        say('live')
        tell({ type: 'gap' })
      }
      // The browser would connect again by itself, but not after every error; so it is always us.
      source.onerror = end
      signal.addEventListener('abort', end)
      for (const kind of KINDS)
        source.addEventListener(kind, ({ data }: MessageEvent<string>) => {
          if (!signal.aborted) tell({ type: 'event', event: JSON.parse(data) as RunEvent })
        })
    })
  }

  let failures = 0
  async function lead(): Promise<void> {
    say('connecting')
    while (!signal.aborted) {
      await connect()
      if (signal.aborted) return
      say('lost')
      const pause = RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)] ?? 0
      await new Promise((resolve) => setTimeout(resolve, pause))
      if (!(await listener.mayConnect().catch(() => true))) return
    }
  }
  navigator.locks.request(NAME, { signal }, lead).catch(() => {})
}
