// Addresses and headers that no well-meaning client sends: each is refused by name, none is a fault of ours.
import { request } from 'node:http'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Fabrique, startFabrique } from './harness.ts'

let fabrique: Fabrique
beforeAll(async () => {
  fabrique = await startFabrique()
})
afterAll(() => fabrique?.stop())

it.each([
  ['GET', '/v1/workflows/runs/%00'],
  ['GET', '/v1/workflows/runs/a%00b/steps'],
  ['GET', '/v1/workflows/runs/%00/events'],
  ['POST', '/v1/workflows/runs/%00/cancel'],
  ['GET', '/v1/artifacts/%00/content'],
  ['GET', '/v1/workflows/a%00b'],
  ['GET', '/v1/catalog/%00'],
  ['DELETE', '/v1/api-keys/%00'],
])('an id with a NUL is an unknown id: %s %s', async (method, path) => {
  expect((await fabrique.request(path, { method })).status).toBe(404)
})

it.each(['metadata[a]=%00', 'metadata[%00]=a', '__proto__=1'])('an odd query is a 400: %s', async (query) => {
  expect((await fabrique.request(`/v1/workflows/runs?${query}`)).status).toBe(400)
})

it.each(['1.2.3.999', '0x100000000'])('a Host that is no name is a 400: %s', async (host) => {
  const status = await new Promise((resolve, reject) => {
    request(`${fabrique.url}/v1/catalog`, { headers: { host } }, (answer) => {
      answer.resume()
      resolve(answer.statusCode)
    })
      .on('error', reject)
      .end()
  })
  expect(status).toBe(400)
})
