import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { StagedAnswer } from '@fabrique/engine'
import { artifactStoreContract } from '@fabrique/engine/testing'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createS3StandIn, type ObjectFault } from '../../../test/s3-stand-in.ts'
import { createFileArtifactStore } from './file-store.ts'
import { artifactLocation, createArtifactStore } from './index.ts'
import { createS3ArtifactStore, type Patience, s3BaseUrl } from './s3-store.ts'

const PATIENT: Patience = { readMs: 20_000, writeMs: 20_000, pauseMs: 1, stallMs: 10_000 }
const CURT: Patience = { readMs: 100, writeMs: 100, pauseMs: 1, stallMs: 10_000 }
const PREFIX = 'some/prefix/'
const MIB = 1_048_576

const bytes = new TextEncoder().encode('some bytes')
const answer: StagedAnswer = {
  output: { text: 'paid for' },
  files: [{ name: 'picture', mimeType: 'image/png', bytes: Uint8Array.of(1, 2, 3) }],
  usage: [],
}

async function open(patience: Patience, change: Record<string, string> = {}) {
  const bucket = await createS3StandIn()
  const env: Record<string, string | undefined> = { ...bucket.env, ...change }
  const warnings: string[] = []
  const log = {
    debug() {},
    info() {},
    warn: (context: object, message: string) => warnings.push(`${message} ${JSON.stringify(context)}`),
    error() {},
  }
  const access = {
    accessKeyId: env.AWS_ACCESS_KEY_ID ?? '',
    secretAccessKey: env.AWS_SECRET_ACCESS_KEY ?? '',
    sessionToken: env.AWS_SESSION_TOKEN,
    region: env.AWS_REGION ?? '',
    endpoint: env.S3_ENDPOINT,
  }
  const store = createS3ArtifactStore(env.ARTIFACT_STORE ?? '', access, log, patience)
  return { store, bucket, warnings, dispose: () => bucket.close(), goAway: () => bucket.close() }
}

artifactStoreContract('the artifact store in a bucket', () => open(CURT))

describe('the artifact store in a bucket', () => {
  async function setup(patience = PATIENT, change: Record<string, string> = {}) {
    const opened = await open(patience, change)
    onTestFinished(() => opened.dispose())
    return opened
  }
  const put = (store: ReturnType<typeof createS3ArtifactStore>) => store.put('org_1', bytes, 'text/plain')
  const caught = (promise: Promise<unknown>) => promise.then(() => Promise.reject(new Error('it resolved')), String)

  it('has the layout of a folder, below its prefix', async () => {
    const { store, bucket } = await setup()
    const root = await mkdtemp(join(tmpdir(), 'fabrique-artifacts-'))
    onTestFinished(() => rm(root, { recursive: true }))
    const { storageKey } = await put(store)
    expect(await createFileArtifactStore(root).put('org_1', bytes, 'text/plain')).toMatchObject({ storageKey })
    expect([...bucket.objects.keys()]).toEqual([PREFIX + storageKey])
    await store.stage('call', answer)
    expect([...bucket.objects.keys()][1]).toMatch(/^some\/prefix\/staging\/[0-9a-f]{64}$/)
  })

  it('uploads what is there already only where it is another', async () => {
    const { store, bucket } = await setup()
    const { storageKey } = await put(store)
    await put(store)
    expect(bucket.asked('PUT')).toHaveLength(1)
    for (const [index, other] of ['short', 'other bytes'.slice(0, bytes.byteLength)].entries()) {
      bucket.objects.set(PREFIX + storageKey, Buffer.from(other))
      await put(store)
      expect(bucket.asked('PUT')).toHaveLength(2 + index)
      expect(bucket.objects.get(PREFIX + storageKey)).toEqual(Buffer.from(bytes))
    }
  })

  it.each<[string, ObjectFault]>([
    ['500 before it stored', { status: 500 }],
    ['500 after it stored', { status: 500, done: true }],
    ['503 as it is too busy', { status: 503, code: 'SlowDown' }],
    ['429', { status: 429, code: 'TooManyRequests' }],
    ['that it read too slowly', { status: 400, code: 'RequestTimeout' }],
    ['nothing, and hangs up', { reset: 'before' }],
  ])('asks again where the first two answers are %s, and has each object once', async (_, fault) => {
    const { store, bucket, warnings } = await setup()
    bucket.meddle(({ nth }) => (nth <= 2 ? fault : undefined))
    const { storageKey } = await put(store)
    await store.stage('call', answer)
    expect(Uint8Array.from(await store.get(storageKey))).toEqual(bytes)
    expect((await store.staged('call'))?.output).toEqual(answer.output)
    expect(bucket.objects.size).toBe(2)
    await store.unstage('call')
    expect([...bucket.objects.keys()]).toEqual([PREFIX + storageKey])
    expect(warnings).toEqual([])
  })

  it.each<[string, ObjectFault]>([
    ['cut', { reset: 'midway' }],
    ['not what was stored', { body: Buffer.from('<html>please log in</html>') }],
  ])('reads again what is %s', async (_, fault) => {
    const { store, bucket } = await setup()
    const { storageKey } = await put(store)
    bucket.meddle(({ nth }) => (nth === 1 ? fault : undefined))
    expect(Uint8Array.from(await store.get(storageKey))).toEqual(bytes)
    expect(bucket.asked('GET')).toHaveLength(2)
  })

  it('never answers bytes that are not those of the key', async () => {
    const { store, bucket } = await setup(CURT)
    const { storageKey } = await put(store)
    await store.open(storageKey)
    bucket.objects.set(PREFIX + storageKey, Buffer.from('SOME BYTES'))
    await expect(store.get(storageKey)).rejects.toMatchObject({ code: 'artifact-damaged' })
    await expect(store.open(storageKey)).rejects.toMatchObject({ code: 'artifact-damaged' })
  })

  it('gives up a store that does not answer in time', async () => {
    const { store, bucket, warnings } = await setup({ ...CURT, stallMs: 20 })
    const { storageKey } = await put(store)
    const over = Promise.withResolvers<void>()
    bucket.meddle(() => ({ hold: over.promise }))
    await expect(store.get(storageKey)).rejects.toMatchObject({ code: 'unavailable' })
    expect(warnings).toEqual([expect.stringContaining('the object store does not answer')])
    over.resolve()
  })

  it('gives up a store that keeps failing, in words without address and secret', async () => {
    const { store, bucket, warnings } = await setup(CURT)
    bucket.meddle(() => ({ status: 503 }))
    for (const act of [() => put(store), () => store.stage('call', answer), () => store.staged('call')]) {
      expect(await caught(act())).toMatch(
        /^FabriqueError: The object store of ARTIFACT_STORE does not answer at the moment \(\w+: HTTP 503( InternalError)?\)\.$/,
      )
    }
    expect(bucket.asked('GET').length).toBeGreaterThan(2)
    expect(bucket.asked().length).toBeLessThan(100)
    for (const secret of Object.values(bucket.env)) expect(warnings.join('\n')).not.toContain(secret)
  })

  it.each<[string, string, Record<string, string>]>([
    ['secret', 'SignatureDoesNotMatch', { AWS_SECRET_ACCESS_KEY: 'another-secret' }],
    ['key id', 'InvalidAccessKeyId', { AWS_ACCESS_KEY_ID: 'AKIAOTHER' }],
    ['session token', 'InvalidToken', { AWS_SESSION_TOKEN: 'another-token' }],
    ['region', 'AuthorizationHeaderMalformed', { AWS_REGION: 'us-east-1' }],
    ['bucket', 'NoSuchBucket', { ARTIFACT_STORE: 's3://another-bucket' }],
  ])('says at once, and not that nothing is staged, where its %s is wrong', async (_, code, change) => {
    const { store, bucket } = await setup(PATIENT, change)
    const told = [await caught(put(store)), await caught(store.staged('call')), await caught(store.stage('c', answer))]
    for (const text of told) {
      expect(text).toContain(code)
      expect(text).toContain('AWS_REGION')
      for (const secret of [...Object.values(bucket.env), ...Object.values(change)]) expect(text).not.toContain(secret)
    }
    expect(bucket.asked('PUT')).toHaveLength(2)
    expect(bucket.objects.size).toBe(0)
  })

  it('stores with credentials that may not ask what is there', async () => {
    const { store, bucket } = await setup()
    bucket.meddle(({ method }) => (method === 'HEAD' ? { status: 403, code: 'AccessDenied' } : undefined))
    const { storageKey } = await put(store)
    expect(bucket.objects.has(PREFIX + storageKey)).toBe(true)
  })

  it('lets no run suffer from a staged answer that cannot be removed', async () => {
    const { store, bucket, warnings } = await setup()
    await store.stage('call', answer)
    bucket.meddle(({ method }) => (method === 'DELETE' ? { status: 403, code: 'AccessDenied' } : undefined))
    await store.unstage('call')
    expect(warnings).toEqual([expect.stringContaining('it stays in the bucket')])
  })

  it('neither stores nor reads more than 256 MiB', async () => {
    const { store, bucket } = await setup()
    const huge = Buffer.alloc(256 * MIB + 1)
    await expect(store.put('org_1', huge, 'video/mp4')).rejects.toThrow('larger than 256 MiB')
    const { storageKey } = await put(store)
    bucket.objects.set(PREFIX + storageKey, huge)
    await expect(store.get(storageKey)).rejects.toThrow('larger than 256 MiB')
  })
})

describe('the address of a bucket', () => {
  it.each([
    ['s3://pictures', undefined, 'https://pictures.s3.eu-central-1.amazonaws.com/'],
    ['s3://pictures/', undefined, 'https://pictures.s3.eu-central-1.amazonaws.com/'],
    ['s3://pictures/a/b/', undefined, 'https://pictures.s3.eu-central-1.amazonaws.com/a/b/'],
    ['s3://pictures.example', undefined, 'https://s3.eu-central-1.amazonaws.com/pictures.example/'],
    ['s3://pictures/a', 'http://127.0.0.1:9000', 'http://127.0.0.1:9000/pictures/a/'],
    ['s3://pictures', 'https://host/storage/v1/', 'https://host/storage/v1/pictures/'],
  ])('%s with endpoint %s is %s', (address, endpoint, url) => {
    expect(s3BaseUrl(address, { region: 'eu-central-1', endpoint })).toBe(url)
  })

  it('is where a person finds an artifact', () => {
    expect(artifactLocation('s3://pictures/a/', 'org/00/x.png')).toBe('s3://pictures/a/org/00/x.png')
    expect(artifactLocation('file:///data/files', 'org/00/x.png')).toBe('/data/files/org/00/x.png')
    expect(artifactLocation('/data/files', 'org/00/x.png')).toBe('/data/files/org/00/x.png')
  })

  it('needs credentials', () => {
    const log = { debug() {}, info() {}, warn() {}, error() {} }
    expect(() => createArtifactStore({ address: 's3://pictures' }, log)).toThrow('needs credentials')
  })
})
