import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { limitedServer, type ServerLimits } from './server-limits.ts'

/** A server that answers with the length of the body, read when `mayRead` says so. */
async function setup(limits: Partial<ServerLimits>, mayRead: Promise<void> = Promise.resolve()) {
  const server = limitedServer({ connectionsMax: 9, ...limits })(
    {},
    (request: IncomingMessage, response: ServerResponse) => {
      void (async () => {
        await mayRead
        let bytes = 0
        for await (const chunk of request) bytes += (chunk as Buffer).length
        response.end(String(bytes))
      })().catch(() => response.destroy())
    },
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const sockets: Socket[] = []
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.closeAllConnections()
    server.close()
  })
  return {
    open(text: string): { socket: Socket; heard: Promise<string> } {
      const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
      sockets.push(socket)
      const heard = new Promise<string>((resolve) => {
        let answer = ''
        socket.on('data', (bytes: Buffer) => {
          answer += bytes.toString()
        })
        socket.on('error', () => {})
        socket.once('close', () => resolve(answer))
      })
      socket.write(text)
      return { socket, heard }
    },
  }
}

const HEAD = 'POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n'

describe('the server', () => {
  it('cuts off half a head', async () => {
    const { open } = await setup({ headMs: 200 })
    expect(await open('GET / HTTP/1.1\r\nhost: x\r\nx-slow: ').heard).toMatch(/^(HTTP\/1\.1 408 |$)/)
  })

  it('cuts off a body that drips, and answers others meanwhile', async () => {
    const { open } = await setup({ dripMs: 300, dripBytes: 100 })
    const { socket, heard } = open(`${HEAD}content-length: 1000\r\n\r\n`)
    const drip = setInterval(() => socket.write('x'), 30)
    onTestFinished(() => clearInterval(drip))
    expect(await open(`${HEAD}content-length: 2\r\n\r\nok`).heard).toMatch(/\r\n\r\n2$/)
    expect(await heard).toMatch(/^HTTP\/1\.1 408 /)
  })

  it('waits for a body that is slow but comes', async () => {
    const { open } = await setup({ dripMs: 200, dripBytes: 100 })
    const { socket, heard } = open(`${HEAD}content-length: 1000\r\n\r\n`)
    let sent = 0
    const stream = setInterval(() => {
      socket.write('x'.repeat(50))
      sent += 50
      if (sent === 1_000) clearInterval(stream)
    }, 50)
    expect(await heard).toMatch(/\r\n\r\n1000$/)
  })

  it('never blames a client for a body that the handler is not ready to read', async () => {
    const ready = Promise.withResolvers<void>()
    const { open } = await setup({ dripMs: 100 }, ready.promise)
    const { socket, heard } = open(`${HEAD}content-length: 1000000\r\n\r\n`)
    socket.write('x'.repeat(500_000))
    setTimeout(ready.resolve, 600)
    await ready.promise
    socket.write('x'.repeat(500_000))
    expect(await heard).toMatch(/\r\n\r\n1000000$/)
  })

  it('closes connections beyond its maximum', async () => {
    const { open } = await setup({ connectionsMax: 1 })
    const first = open('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
    await once(first.socket, 'data')
    expect(await open('GET / HTTP/1.1\r\nhost: x\r\n\r\n').heard).toBe('')
  })
})
