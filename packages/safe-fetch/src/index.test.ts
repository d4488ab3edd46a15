// Which addresses are public, in every notation, and that a guarded connection is never made to another.
import { createServer, type Server } from 'node:http'
import { type AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { request } from 'undici'
import { createGuardedAgent, isPublicAddress, RefusedAddressError, urlProblem } from './index.ts'

const INWARD = [
  'http://127.0.0.1/',
  'http://127.1/',
  'http://2130706433/',
  'http://0x7f.1/',
  'http://0x7f000001/',
  'http://0177.0.0.1/',
  'http://127.0.0.1./',
  'http://①②⑦.0.0.1/',
  'http://0/',
  'http://10.1.2.3/',
  'http://172.16.0.1/',
  'http://192.168.1.1:8080/hook',
  'http://100.64.0.1/',
  'http://169.254.169.254/latest/meta-data',
  'http://2852039166/',
  'http://224.0.0.1/',
  'http://255.255.255.255/',
  'http://198.18.0.1/',
  'http://[::1]/',
  'http://[::]/',
  'http://[::ffff:127.0.0.1]/',
  'http://[::ffff:a9fe:a9fe]/',
  'http://[::127.0.0.1]/',
  'http://[::ffff:0:127.0.0.1]/',
  'http://[64:ff9b::10.0.0.1]/',
  'http://[2002:7f00:1::]/',
  'http://[fe80::1]/',
  'http://[fd00:ec2::254]/',
  'http://[fec0::1]/',
  'http://localhost/',
  'http://LOCALHOST./',
  'http://%6cocalhost/',
  'http://api.localhost:3000/',
]

describe('a URL', () => {
  it.each(INWARD)('%s is refused, and taken where private addresses are allowed', async (url) => {
    expect(await urlProblem(url)).toMatch(/private or reserved|this machine/)
    expect(await urlProblem(url, { allowPrivate: true })).toBeNull()
  })

  it.each([
    ['ftp://8.8.8.8/', 'https://'],
    ['file:///etc/passwd', 'https://'],
    ['javascript:alert(1)', 'https://'],
    ['https://user@example.com/', 'user name'],
    ['https://:secret@example.com/', 'user name'],
    ['example.com/hook', 'https://'],
    ['https://', 'not a URL'],
    ['http://1.2.3.999/', 'not a URL'],
    ['http://./', 'names no host'],
  ])('%s is refused for its form', async (url, words) => {
    expect(await urlProblem(url)).toContain(words)
  })

  it.each(['https://8.8.8.8/hook', 'https://[2001:4860:4860::8888]:8443/', 'https://nobody.invalid/hook'])(
    '%s is taken: public, or a name that means nothing yet',
    async (url) => {
      expect(await urlProblem(url)).toBeNull()
    },
  )
})

describe('an address', () => {
  it.each(['', 'example.com', '4000::1', '::7f00:1'])('"%s" is not public', (address) => {
    expect(isPublicAddress(address)).toBe(false)
  })
})

describe('a guarded connection', () => {
  let server: Server
  let port = 0
  let hits = 0
  beforeAll(async () => {
    server = createServer((_, response) => {
      hits += 1
      response.end('inside')
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    port = (server.address() as AddressInfo).port
  })
  afterAll(() => new Promise((resolve) => server.close(resolve)))

  it.each(['127.0.0.1', '2130706433', '0x7f.1', '[::ffff:127.0.0.1]', 'localhost'])(
    'is not made to %s',
    async (host) => {
      const dispatcher = createGuardedAgent()
      await expect(request(`http://${host}:${port}/`, { dispatcher })).rejects.toThrow(RefusedAddressError)
      expect(hits).toBe(0)
      await dispatcher.close()
    },
  )

  it('is made to what is allowed, by address and by name', async () => {
    const dispatcher = createGuardedAgent((address) => ['127.0.0.1', '::1'].includes(address))
    for (const host of ['127.0.0.1', 'localhost']) {
      const { body } = await request(`http://${host}:${port}/`, { dispatcher })
      expect(await body.text()).toBe('inside')
    }
    await dispatcher.close()
  })

  it('asks about every address of a name before it is made', async () => {
    const asked: string[] = []
    const dispatcher = createGuardedAgent((address) => {
      asked.push(address)
      return false
    })
    await expect(request(`http://localhost:${port}/`, { dispatcher })).rejects.toThrow('not public')
    expect(asked.length).toBeGreaterThan(0)
    await dispatcher.close()
  })
})
