// A load generator: keep-alive connections, each with one request in flight, on plain sockets to leave the CPU to the server.
// Hides HTTP framing; it understands exactly what an API answers.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** Sends `count` POSTs with `inFlight` at a time; answers the seconds it took. Any status but `status` is an error. */
export async function postAll(request: {
  port: number
  path: string
  key: string
  count: number
  inFlight: number
  status: number
  body: (n: number) => string
}): Promise<number> {
  const { port, path, key, count, inFlight, status, body } = request
  const head = `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ${key}\r\ncontent-type: application/json\r\n`
  const sockets = await Promise.all(Array.from({ length: inFlight }, () => open(port)))
  const startedMs = performance.now()
  let sent = 0
  try {
    await Promise.all(
      sockets.map(async (socket) => {
        while (sent < count) {
          sent += 1
          const text = body(sent)
          socket.write(`${head}content-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`)
          const answer = await response(socket)
          if (!answer.startsWith(`HTTP/1.1 ${status}`)) throw new Error(answer.slice(0, 500))
        }
      }),
    )
    return (performance.now() - startedMs) / 1_000
  } finally {
    for (const socket of sockets) socket.destroy()
  }
}

async function open(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  await once(socket, 'connect')
  return socket
}

function response(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const onData = (chunk: Buffer) => {
      text += chunk.toString('latin1')
      if (!isComplete(text)) return
      socket.off('data', onData).off('close', onClose)
      resolve(text)
    }
    const onClose = () => reject(new Error('the API closed a connection'))
    socket.on('data', onData).once('close', onClose)
  })
}

function isComplete(text: string): boolean {
  const end = text.indexOf('\r\n\r\n')
  if (end < 0) return false
  const length = /\r\ncontent-length: (\d+)/i.exec(text)?.[1]
  return length === undefined ? text.endsWith('\r\n0\r\n\r\n') : text.length >= end + 4 + Number(length)
}
