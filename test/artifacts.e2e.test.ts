// Artifacts as clients get them, whatever they lie on: the same answers from a folder and from a bucket, and runs that
// outlive a store which fails, lies about failing, or is away. The bucket is a stand-in on loopback.
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Artifact } from '@fabrique/schema'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { checkout, type Fabrique, startFabrique } from './harness.ts'
import { createS3StandIn, type S3StandIn } from './s3-stand-in.ts'

const PREFIX = 'some/prefix/'
const sha256Of = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

async function finished(fabrique: Fabrique): Promise<{ id: string; files: Artifact[] }> {
  const { id } = await fabrique.submit()
  await fabrique.finish(id)
  expect((await fabrique.run(id)).status).toBe('completed')
  const files = await fabrique.artifacts(id)
  expect(files.length).toBeGreaterThan(1)
  return { id, files }
}

describe.each(['a folder', 'a bucket'])('an artifact in %s', (where) => {
  let bucket: S3StandIn
  let fabrique: Fabrique
  let file: Artifact
  let bytes: Buffer

  beforeAll(async () => {
    bucket = await createS3StandIn()
    fabrique = await startFabrique({ env: where === 'a bucket' ? bucket.env : {} })
    const { files } = await finished(fabrique)
    file = files[0] as Artifact
    const stored = (key: string) =>
      where === 'a bucket' ? bucket.objects.get(PREFIX + key) : readFile(join(fabrique.home, 'artifacts', key))
    bytes = (await stored(file.storage_key)) as Buffer
  })
  afterAll(async () => {
    await fabrique?.stop()
    await bucket?.close()
  })

  async function damage(change: Buffer | null): Promise<void> {
    const key = file.storage_key
    const path = join(fabrique.home, 'artifacts', key)
    if (where === 'a folder') await (change === null ? rm(path) : writeFile(path, change))
    else if (change === null) bucket.objects.delete(PREFIX + key)
    else bucket.objects.set(PREFIX + key, change)
  }

  async function content(headers: Record<string, string> = {}) {
    const response = await fetch(`${fabrique.url}/v1/artifacts/${file.id}/content`, {
      headers: { authorization: `Bearer ${fabrique.adminKey}`, ...headers },
    })
    return {
      status: response.status,
      headers: response.headers,
      bytes: Buffer.from(await response.arrayBuffer()),
    }
  }

  it('is answered as it was stored, under its hash', async () => {
    const { status, headers, bytes: got } = await content()
    expect(status).toBe(200)
    expect(got.equals(bytes)).toBe(true)
    expect(sha256Of(got)).toBe(file.sha256)
    expect(headers.get('etag')).toBe(`"${file.sha256}"`)
    expect(headers.get('content-type')).toBe(file.mime_type)
    expect(headers.get('content-length')).toBe(String(file.bytes))
    expect(headers.get('accept-ranges')).toBe('bytes')
    expect(headers.get('x-content-type-options')).toBe('nosniff')
  })

  it('is answered with 304 to a client that has it', async () => {
    const { status, bytes: got } = await content({ 'if-none-match': `"another", "${file.sha256}"` })
    expect(status).toBe(304)
    expect(got).toHaveLength(0)
    expect((await content({ 'if-none-match': '"another"' })).status).toBe(200)
  })

  it.each([
    ['bytes=0-0', 0, 1],
    ['bytes=10-19', 10, 20],
    ['bytes=100-', 100, undefined],
    ['bytes=-7', -7, undefined],
    ['bytes=5-999999999', 5, undefined],
  ])('is answered in parts: %s', async (range, from, to) => {
    const wanted = bytes.subarray(from, to)
    const { status, headers, bytes: got } = await content({ range })
    expect(status).toBe(206)
    expect(got.equals(wanted)).toBe(true)
    const first = from < 0 ? bytes.length + from : from
    expect(headers.get('content-range')).toBe(`bytes ${first}-${first + wanted.length - 1}/${bytes.length}`)
    expect(headers.get('content-length')).toBe(String(wanted.length))
    expect(headers.get('etag')).toBe(`"${file.sha256}"`)
  })

  it.each([
    {
      what: 'altered',
      change: (whole: Buffer) => Buffer.from(whole).fill(0, 20, 40),
      status: 500,
      code: 'artifact-damaged',
    },
    { what: 'cut', change: (whole: Buffer) => whole.subarray(0, -1), status: 500, code: 'artifact-damaged' },
    { what: 'removed', change: () => null, status: 410, code: 'artifact-gone' },
  ])(
    'that was $what in the store is never answered, and made good by the next run',
    async ({ change, status, code }) => {
      await damage(change(bytes))
      for (const headers of [{}, { range: 'bytes=0-9' }]) {
        const answer = await content(headers)
        expect([answer.status, JSON.parse(answer.bytes.toString())]).toEqual([
          status,
          expect.objectContaining({ code }),
        ])
        expect(answer.headers.get('etag')).toBeNull()
      }
      expect(fabrique.lines().join('\n')).toContain('an artifact is lost')
      expect((await fabrique.request('/metrics')).text).toMatch(
        new RegExp(`fabrique_artifacts_lost_total\\{code="${code}"\\} [1-9]`),
      )
      await finished(fabrique)
      expect((await content()).bytes.equals(bytes)).toBe(true)
    },
  )

  it.each(['bytes=999999999-', 'bytes=-0', 'bytes=9-3'])('has no part %s', async (range) => {
    const { status, headers } = await content({ range })
    expect(status).toBe(416)
    expect(headers.get('content-range')).toBe(`bytes */${bytes.length}`)
  })
})

describe('a run whose artifacts go to a bucket', () => {
  let bucket: S3StandIn
  let fabrique: Fabrique

  beforeAll(async () => {
    bucket = await createS3StandIn()
    fabrique = await startFabrique({ env: bucket.env })
  })
  afterEach(() => {
    bucket.meddle(null)
    bucket.objects.clear()
  })
  afterAll(async () => {
    await fabrique?.stop()
    await bucket?.close()
  })

  /** The bucket holds the run's files, each as its record says, and nothing else. */
  function expectExactly(files: Artifact[]) {
    const keys = new Set(files.map((file) => PREFIX + file.storage_key))
    expect([...bucket.objects.keys()].sort()).toEqual([...keys].sort())
    for (const file of files) {
      const stored = bucket.objects.get(PREFIX + file.storage_key)
      expect(stored && { bytes: stored.length, sha256: sha256Of(stored) }).toEqual({
        bytes: file.bytes,
        sha256: file.sha256,
      })
    }
  }
  const outcomes = async (id: string) => (await fabrique.ledger(id)).map(({ stepId, outcome }) => ({ stepId, outcome }))

  it('leaves each file there once, nothing staged and nothing in the folder', async () => {
    const { files } = await finished(fabrique)
    expectExactly(files)
    await expect(readFile(join(fabrique.home, 'artifacts', files[0]?.storage_key ?? ''))).rejects.toThrow('ENOENT')
  })

  it('stores each file once although the store answers 500 for writes that it has made', async () => {
    const usual = await finished(fabrique)
    bucket.objects.clear()
    let failures = 0
    const hit = new Set<string>()
    bucket.meddle(({ method, key }) => {
      if (hit.has(method + key)) return undefined
      hit.add(method + key)
      failures += 1
      return { status: 500, done: true }
    })
    const { id, files } = await finished(fabrique)
    expect(failures).toBeGreaterThan(files.length)
    expectExactly(files)
    expect(await outcomes(id)).toEqual(await outcomes(usual.id))
    expect(files.map(({ sha256 }) => sha256)).toEqual(usual.files.map(({ sha256 }) => sha256))
  })

  it('is handed back while the store is away, and then ends like a run that was not disturbed', async () => {
    const usual = await outcomes((await finished(fabrique)).id)
    bucket.objects.clear()
    const said = () => fabrique.lines().filter((line) => line.includes('the object store does not answer'))
    const before = said().length
    const isAway = () => said().length <= before
    // Reading is given up soonest; the run has paid for and stored files by then.
    bucket.meddle(({ method }) => (method === 'GET' && isAway() ? { status: 503, code: 'SlowDown' } : undefined))
    const { id, files } = await finished(fabrique)
    expect(said().length).toBeGreaterThan(before)
    for (const secret of [bucket.env.AWS_SECRET_ACCESS_KEY, bucket.env.AWS_SESSION_TOKEN, 'Signature=']) {
      expect(fabrique.lines().join('\n')).not.toContain(secret)
    }
    expectExactly(files)
    expect(await outcomes(id)).toEqual(usual)
    expect((await fabrique.log(id)).filter(({ kind }) => /failed|retrying/.test(kind))).toEqual([])
  })

  it('has content that is answered with 503 while the store is away', async () => {
    const { files } = await finished(fabrique)
    bucket.meddle(({ method }) => (method === 'GET' ? { reset: 'before' } : undefined))
    const { status, text } = await fabrique.request(`/v1/artifacts/${files[0]?.id}/content`)
    expect(status).toBe(503)
    expect(text).toContain('"code":"unavailable"')
    expect(text).not.toContain('127.0.0.1')
    bucket.meddle(null)
    expect((await fabrique.request(`/v1/artifacts/${files[0]?.id}/content`)).status).toBe(200)
  })
})

describe('a bucket without credentials', () => {
  it.each(['api', 'worker'])('stops the %s at its start, with the name of what is missing', async (app) => {
    const env = {
      DATABASE_URL: 'postgres://127.0.0.1:1/none',
      REDIS_URL: 'redis://127.0.0.1:1',
      ARTIFACT_STORE: 's3://pictures',
      AWS_ACCESS_KEY_ID: 'AKIA',
    }
    const told = await new Promise((resolve) => {
      execFile(process.execPath, [`apps/${app}/src/main.ts`], { cwd: checkout, env }, (error, stdout, stderr) =>
        resolve({ code: error?.code, output: stdout + stderr }),
      )
    })
    expect(told).toEqual({
      code: 78,
      output: 'AWS_SECRET_ACCESS_KEY: is required by an s3:// ARTIFACT_STORE\n',
    })
  })
})
