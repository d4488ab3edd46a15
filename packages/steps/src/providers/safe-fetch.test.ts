import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createSafeFetch, decodeDataUrl } from './safe-fetch.ts'

const PNG = Buffer.from('a picture')
/** What a path answers. */
const ANSWERS: Record<string, (response: ServerResponse) => void> = {
  '/file': (response) => response.writeHead(200, { 'content-type': 'image/png; charset=binary' }).end(PNG),
  '/untyped': (response) => response.writeHead(200).end(PNG),
  '/empty': (response) => response.writeHead(200).end(),
  '/short': (response) => {
    response.writeHead(200, { 'content-length': 100 })
    response.write(PNG, () => response.destroy())
  },
  '/hop': (response) => response.writeHead(302, { location: '/file' }).end('moved'),
  '/circle': (response) => response.writeHead(307, { location: '/circle' }).end(),
  '/nowhere': (response) => response.writeHead(302).end(),
  '/inward': (response) => response.writeHead(302, { location: 'http://127.0.0.1:9/secret' }).end(),
  '/metadata': (response) => response.writeHead(302, { location: 'http://169.254.169.254/latest' }).end(),
  '/elsewhere': (response) => response.writeHead(302, { location: 'file:///etc/passwd' }).end(),
}
const server = createServer((request, response) => {
  const path = request.url ?? ''
  const status = /^\/status\/(\d+)$/.exec(path)?.[1]
  if (status !== undefined) response.writeHead(Number(status), { 'retry-after': '2' }).end('no')
  else ANSWERS[path]?.(response)
})
let origin: string
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(async () => {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
})

const fetchFile = (path: string) => createSafeFetch([origin])(`${origin}${path}`, AbortSignal.timeout(10_000))

describe('a file of a provider', () => {
  it('is its bytes, and the type that its sender names', async () => {
    expect(await fetchFile('/file')).toEqual({ bytes: PNG, mimeType: 'image/png' })
    expect(await fetchFile('/untyped')).toEqual({ bytes: PNG, mimeType: '' })
  })

  it('is found behind a redirect', async () => {
    expect((await fetchFile('/hop')).bytes).toEqual(PNG)
  })

  it.each(['/inward', '/metadata', '/elsewhere', '/circle'])(
    'is not looked for where a redirect must not lead: %s',
    async (path) => {
      await expect(fetchFile(path)).rejects.toMatchObject({ failureClass: 'bad_output', billed: 'yes' })
    },
  )

  it.each(['http://127.0.0.1:9/x', 'http://[::1]/x', 'ftp://files.example/x', 'http://user@files.example/x', 'no url'])(
    'is not fetched from %s',
    async (url) => {
      const fetching = createSafeFetch([origin])(url, AbortSignal.timeout(10_000))
      await expect(fetching).rejects.toMatchObject({ failureClass: 'bad_output' })
    },
  )

  it.each(['/short', '/empty', '/nowhere', '/status/500', '/status/503'])(
    'is worth another try after %s',
    async (path) => {
      await expect(fetchFile(path)).rejects.toMatchObject({ failureClass: 'server', billed: 'yes' })
    },
  )

  it('is waited for as long as its sender says', async () => {
    await expect(fetchFile('/status/429')).rejects.toMatchObject({ failureClass: 'rate_limit', retryAfterMs: 2_000 })
  })

  it.each([404, 410])('is gone after a %d', async (status) => {
    await expect(fetchFile(`/status/${status}`)).rejects.toMatchObject({ code: 'file-gone' })
  })
})

describe('a data URL', () => {
  it.each([
    ['data:image/png;base64,YSBwaWN0dXJl', 'image/png'],
    ['data:text/plain;charset=utf-8;base64,YSBwaWN0dXJl', 'text/plain'],
    ['data:text/plain,a%20picture', 'text/plain'],
  ])('is decoded: %s', (url, mimeType) => {
    const { bytes, mimeType: type } = decodeDataUrl(url)
    expect([Buffer.from(bytes).toString(), type]).toEqual(['a picture', mimeType])
  })

  it.each(['data:image/png;base64', 'data:image/png;base64,', 'data:text/plain,%E0%A4%A', 'data:'])(
    'that is broken is refused: %s',
    (url) => {
      expect(() => decodeDataUrl(url)).toThrow('a broken data URL')
    },
  )
})
