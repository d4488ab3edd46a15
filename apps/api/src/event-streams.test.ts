import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createEventStreams, type EventStream, type EventStreamLimits } from './event-streams.ts'

/** A server whose every request opens a stream for the key named by its path, and raw clients for it. */
async function setup(limits: Partial<EventStreamLimits> = {}) {
  const stopping = new AbortController()
  const streams = createEventStreams({ streamsMax: 9, streamsPerKeyMax: 9, ...limits }, stopping.signal)
  const opened: ((stream: EventStream) => void)[] = []
  const server = createServer((request, response: ServerResponse) => {
    try {
      const keyId = (request.url ?? '').slice(1)
      const stream = streams.open({ keyId, requestId: 'r', response })
      opened.shift()?.(stream)
    } catch (error) {
      response.writeHead(429).end((error as Error).message)
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const sockets: Socket[] = []
  onTestFinished(() => {
    stopping.abort()
    for (const socket of sockets) socket.destroy()
    server.closeAllConnections()
    server.close()
  })
  function ask(key: string): Socket {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
    sockets.push(socket)
    socket.on('error', () => {})
    socket.write(`GET /${key} HTTP/1.1\r\nhost: x\r\n\r\n`)
    return socket
  }
  return {
    stopping,
    ask,
    /** A stream and the client that reads it, or does not. */
    async open(key: string) {
      const stream = new Promise<EventStream>((resolve) => opened.push(resolve))
      return { socket: ask(key), stream: await stream }
    },
  }
}

function closed(stream: EventStream): Promise<void> {
  return new Promise((resolve) => stream.onClose(resolve))
}

async function answer(socket: Socket): Promise<string> {
  const [head] = (await once(socket, 'data')) as [Buffer]
  return head.toString()
}

describe('event streams', () => {
  it('refuses a stream beyond the maximum of a key or of the process, and opens it once another has ended', async () => {
    const { ask, open } = await setup({ streamsMax: 3, streamsPerKeyMax: 2 })
    const first = await open('a')
    await open('a')
    expect(await answer(ask('a'))).toMatch(/^HTTP\/1\.1 429 [^]*This key has its 2 event streams open already/)
    await open('b')
    expect(await answer(ask('c'))).toMatch(/^HTTP\/1\.1 429 [^]*This server has its 3 event streams open already/)
    const left = closed(first.stream)
    first.socket.destroy()
    await left
    expect(await answer(ask('a'))).toMatch(/^HTTP\/1\.1 200 [^]*text\/event-stream/)
  })

  it('cuts off a reader that takes nothing for the write deadline, and not one that has nothing to take', async () => {
    const { open } = await setup({ writeDeadlineMs: 400 })
    const idle = await open('idle')
    const stuck = await open('stuck')
    stuck.socket.pause()
    const cut = closed(stuck.stream)
    // Only as long as the sockets' buffers take it, so that never enough waits for the other limit.
    while (!stuck.stream.closed) {
      stuck.stream.write(Buffer.alloc(60_000, 'x'))
      await stuck.stream.drained()
    }
    await cut
    expect(idle.stream.closed).toBe(false)
  })

  it('keeps a reader that is slow but reads', async () => {
    const { open } = await setup({ writeDeadlineMs: 300 })
    const { socket, stream } = await open('slow')
    let taken = 0
    socket.on('data', (bytes: Buffer) => {
      taken += bytes.length
      socket.pause()
      setTimeout(() => socket.resume(), 20)
    })
    const body = Buffer.alloc(900_000, 'x')
    for (let n = 0; n < 4; n += 1) {
      stream.write(body)
      await stream.drained()
    }
    expect(stream.closed).toBe(false)
    await expect.poll(() => taken, { timeout: 20_000 }).toBeGreaterThan(4 * body.length)
    expect(stream.closed).toBe(false)
  })

  it('writes one large event whole, and cuts the reader off only when more waits already', async () => {
    const { open } = await setup()
    const { socket, stream } = await open('big')
    let taken = 0
    socket.on('data', (bytes: Buffer) => {
      taken += bytes.length
    })
    stream.write(Buffer.alloc(3_000_000, 'x'))
    await expect.poll(() => taken).toBeGreaterThan(3_000_000)
    socket.pause()
    const cut = closed(stream)
    for (let n = 0; n < 20; n += 1) stream.write(Buffer.alloc(1_000_000, 'x'))
    await cut
  })

  it('ends every stream when the process stops, also of readers that do not read', async () => {
    const { stopping, open } = await setup()
    const reading = await open('a')
    const stuck = await open('b')
    stuck.socket.pause()
    for (let n = 0; n < 8; n += 1) stuck.stream.write(Buffer.alloc(1_000_000, 'x'))
    const all = Promise.all([once(reading.socket.resume(), 'data'), closed(stuck.stream)])
    stopping.abort()
    await all
    expect([reading.stream.closed, stuck.stream.closed]).toEqual([true, true])
  })
})
