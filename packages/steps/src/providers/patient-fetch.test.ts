import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createPatientFetch } from './patient-fetch.ts'

let asked: PromiseWithResolvers<ServerResponse>
let url: string
const server = createServer((_, response) => asked.resolve(response))

beforeEach(async () => {
  asked = Promise.withResolvers()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterEach(async () => {
  vi.useRealTimers()
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
})

it('waits for an answer, and for the rest of it, however long that takes', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'Date', 'performance'] })
  const asking = createPatientFetch()(url)
  const response = await asked.promise
  await vi.advanceTimersByTimeAsync(3_600_000)
  response.write('late ')
  const answer = await asking
  await vi.advanceTimersByTimeAsync(3_600_000)
  response.end('but here')
  expect(await answer.text()).toBe('late but here')
})

it('ends by the signal of its caller', async () => {
  const stop = new AbortController()
  const asking = createPatientFetch()(url, { signal: stop.signal })
  await asked.promise
  stop.abort(new Error('enough'))
  await expect(asking).rejects.toThrow('enough')
})

it('follows no redirect', async () => {
  const asking = createPatientFetch()(url)
  const response = await asked.promise
  response.writeHead(302, { location: `${url}/elsewhere` }).end()
  await expect(asking).rejects.toThrow('fetch failed')
})

it.each([
  ['/v1/responses', 16],
  ['/v1/images/generations', 128],
])('reads an answer of %s up to %d MiB, and gives it up there', async (path, mib) => {
  const asking = createPatientFetch()(url + path).then((answer) => answer.text())
  const response = await asked.promise
  const piece = Buffer.alloc(1024 * 1024, 'x')
  for (let sent = 0; sent <= mib && !response.destroyed; sent += 1)
    await new Promise((resolve) => response.write(piece, resolve))
  await expect(asking).rejects.toThrow(`more than ${mib} MiB`)
})
