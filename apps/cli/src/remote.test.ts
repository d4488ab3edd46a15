import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, it, vi } from 'vitest'
import { createRemote } from './remote.ts'

afterEach(() => vi.unstubAllEnvs())

/** A server that knows one run, and answers everything else as it is told to. */
async function serve(status: number, code: string, detail = 'No.'): Promise<string> {
  const server = createServer((request, response) => {
    if (request.method === 'GET') response.end(JSON.stringify({ id: 'r', status: 'failed' }))
    else response.writeHead(status).end(JSON.stringify({ code, detail, title: 'No', status }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  afterEach(() => void server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

it.each([
  [404, 'not-found', 'does not offer to retry runs'],
  [405, 'method-not-allowed', 'does not offer to retry runs'],
  [409, 'not-retryable', 'No.'],
])('a retry that is answered %i %s says so: %s', async (status, code, words) => {
  vi.stubEnv('FABRIQUE_API_KEY', 'fab_0000000000000000000000')
  const remote = createRemote({ apiUrl: await serve(status, code), signal: new AbortController().signal })
  await expect(remote.retry('r')).rejects.toThrow(words)
})

it('an answer that lacks what this program needs is named with its places', async () => {
  vi.stubEnv('FABRIQUE_API_KEY', 'fab_0000000000000000000000')
  const remote = createRemote({ apiUrl: await serve(500, 'internal'), signal: new AbortController().signal })
  await expect(remote.get('r')).rejects.toMatchObject({
    code: 'internal',
    problems: expect.arrayContaining([expect.objectContaining({ pointer: '/workflow' })]) as unknown,
  })
})

it('a refusal in words that would steer a terminal, or without end, is a bounded line', async () => {
  vi.stubEnv('FABRIQUE_API_KEY', 'fab_0000000000000000000000')
  const apiUrl = await serve(409, 'not-retryable', `\u001b[2Jno\nCost: $0\u009b${'x'.repeat(10_000)}`)
  const refusal = createRemote({ apiUrl, signal: new AbortController().signal }).retry('r')
  await expect(refusal).rejects.toThrow(/^ \[2Jno Cost: \$0 x{100,1000}…$/)
})
