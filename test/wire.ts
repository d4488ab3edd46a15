// A way to a server that can be cut, and on which old connections can fall silent while new ones work.
// Hides the sockets; a silent connection stays open and passes nothing on, in either direction, for ever.
import { connect, createServer, type Server, type Socket } from 'node:net'

export interface Wire {
  url: string
  /** Closes every connection, and refuses new ones. */
  cut(): Promise<void>
  /** Silences every connection there is; new ones work. */
  silence(): void
  /** How many connections were silenced so far, and how many of them the client has not closed yet. */
  silent(): { ever: number; open: number }
  restore(): Promise<void>
  close(): Promise<void>
}

export async function createWire(targetUrl: string): Promise<Wire> {
  const target = new URL(targetUrl)
  const pairs = new Set<[Socket, Socket]>()
  const silenced: Socket[] = []
  let server: Server | undefined
  let port = 0

  function pass(from: Socket): void {
    const to = connect({ host: target.hostname, port: Number(target.port) })
    const pair: [Socket, Socket] = [from, to]
    pairs.add(pair)
    for (const socket of pair) {
      socket.on('error', () => {})
      socket.on('close', () => {
        pairs.delete(pair)
        for (const one of pair) one.destroy()
      })
    }
    from.pipe(to)
    to.pipe(from)
  }

  async function restore(): Promise<void> {
    if (server !== undefined) return
    const opened = createServer(pass)
    await new Promise<void>((resolve) => opened.listen(port, '127.0.0.1', resolve))
    const address = opened.address()
    if (typeof address === 'object' && address !== null) port = address.port
    server = opened
  }

  async function cut(): Promise<void> {
    const closing = server
    server = undefined
    const closed = new Promise<void>((resolve) => (closing === undefined ? resolve() : closing.close(() => resolve())))
    for (const pair of pairs) for (const socket of pair) socket.destroy()
    await closed
  }

  await restore()
  return {
    url: Object.assign(new URL(targetUrl), { hostname: '127.0.0.1', port: String(port) }).href,
    cut,
    restore,
    close: cut,
    silence() {
      for (const [from, to] of pairs) {
        from.unpipe(to)
        to.unpipe(from)
        for (const socket of [from, to]) socket.resume().on('data', () => {})
        silenced.push(from)
      }
    },
    silent: () => ({ ever: silenced.length, open: silenced.filter(({ destroyed }) => !destroyed).length }),
  }
}
