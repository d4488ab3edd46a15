/** Which TCP ports can be listened on now. Hides the trial of a short-lived listener. */
import { createServer } from 'node:net'

/** True when nobody listens on the port of this address. */
export async function isFreePort(port: number, host: string): Promise<boolean> {
  return (await tryPort(port, host)) !== undefined
}

/** A port of this address that the system picks. */
export async function freePort(host: string): Promise<number> {
  const port = await tryPort(0, host)
  if (port === undefined) throw new Error(`No port of ${host} can be listened on. Is HOST an address of this machine?`)
  return port
}

function tryPort(port: number, host: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(undefined))
    server.listen({ port, host, exclusive: true }, () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' ? address?.port : undefined))
    })
  })
}
