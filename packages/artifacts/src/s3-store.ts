// Artifacts as objects of an S3 bucket, laid out below its prefix as they are in a folder.
// Hides signatures, time limits and repetition: every request says the same however often it is made, so that an
// answer that was lost, or that says 500 for an object that was stored, costs one more request and nothing else.
import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { ArtifactStore, Log } from '@fabrique/engine'
import { FabriqueError } from '@fabrique/schema'
import { AwsV4Signer } from 'aws4fetch'
import {
  checkedKey,
  decodeAnswer,
  encodeAnswer,
  gone,
  intact,
  placeOf,
  sha256Of,
  STAGING,
  stagingPlaceOf,
} from './layout.ts'
import { createOpen } from './parts.ts'

export interface S3Access {
  accessKeyId: string
  secretAccessKey: string
  /** Of temporary credentials. */
  sessionToken?: string | undefined
  region: string
  /** The address of another service that speaks S3. Its buckets are addressed by path. */
  endpoint?: string | undefined
}

/** How much is put up with before the store counts as unreachable. */
export interface Patience {
  /** After this no read is begun again; whoever reads can come back. */
  readMs: number
  /** The same for writes, and longer: what is written may have been paid for, and lies nowhere else. */
  writeMs: number
  /** Before the second try; doubled for each one after it. */
  pauseMs: number
  /** For an answer to begin, and on top of a transfer's time at the slowest speed that is put up with. */
  stallMs: number
}

type Method = 'GET' | 'HEAD' | 'PUT' | 'DELETE'

interface Reply {
  status: number
  /** S3's own name for a refusal, where it gave one. */
  code: string | null
  /** What Content-Length says. */
  length: number | null
  /** Without its quotes; of most objects it is the MD5 of their bytes. */
  etag: string | null
  /** Null for an object over the limit. */
  bytes: Buffer | null
}

interface Wish {
  forMs: number
  body?: { bytes: Uint8Array; mimeType: string }
  limitBytes?: number
  /** The first and the last byte that are wanted. */
  range?: [number, number]
  /** False for bytes that cannot be what was stored: asked for again, and answered in the end where they stay so. */
  isWhole?(bytes: Buffer): boolean
}

const MIB = 1_048_576
const ARTIFACT_LIMIT_BYTES = 256 * MIB
/** So much of a file that is read in parts is in memory at a time. */
const PART_BYTES = 4 * MIB
/** An answer may hold several files. */
const ANSWER_LIMIT_BYTES = 1_024 * MIB
const REFUSAL_LIMIT_BYTES = 16_384
const SLOWEST_BYTES_PER_MS = 1_000
const PAUSE_MAX_MS = 5_000
const ANSWERED_MS = 5_000
const MD5_LENGTH = 32
/** The longest wait is within a worker's time to stop. */
const PATIENCE: Patience = { readMs: 5_000, writeMs: 30_000, pauseMs: 100, stallMs: 10_000 }

/** What lies below an `s3://bucket/prefix`, as a URL that ends with a slash. Throws for another kind of address. */
export function s3BaseUrl(address: string, { region, endpoint }: Pick<S3Access, 'region' | 'endpoint'>): string {
  const [, bucket, prefix = ''] = /^s3:\/\/([^/]+)(?:\/(.*))?$/.exec(address.replace(/(?<!\/)\/+$/, '')) ?? []
  if (bucket === undefined) throw new Error('ARTIFACT_STORE: must be s3://bucket or s3://bucket/prefix')
  const below = prefix === '' ? '' : `${prefix}/`
  if (endpoint !== undefined) return `${endpoint.replace(/(?<!\/)\/+$/, '')}/${bucket}/${below}`
  const host = `s3.${region}.amazonaws.com`
  // A certificate stands for one label, so that a name with dots has to go into the path.
  return bucket.includes('.') ? `https://${host}/${bucket}/${below}` : `https://${bucket}.${host}/${below}`
}

/**
 * A store in the bucket of an `s3://bucket/prefix`. Connects to nothing before its first use. Rejects by `unavailable`
 * once its patience is over, and by another error for what repeating cannot mend: an object that is not there, is
 * larger than 256 MiB, or is refused.
 */
export function createS3ArtifactStore(
  address: string,
  access: S3Access,
  log: Log,
  patience: Patience = PATIENCE,
): ArtifactStore {
  const baseUrl = s3BaseUrl(address, access)
  const { accessKeyId, secretAccessKey, sessionToken, region } = access
  const signingKeys = new Map<string, ArrayBuffer>()
  const { readMs, writeMs } = patience
  let answeredUntilMs = 0

  async function signed(method: Method, key: string, body: Wish['body']): Promise<{ url: URL; headers: Headers }> {
    const { url, headers } = await new AwsV4Signer({
      method,
      url: baseUrl + key,
      // The store compares it with what arrives, and refuses what was changed or cut on the way.
      headers: { 'x-amz-content-sha256': sha256Of(body?.bytes ?? '') },
      accessKeyId,
      secretAccessKey,
      ...(sessionToken === undefined ? {} : { sessionToken }),
      service: 's3',
      region,
      cache: signingKeys,
    }).sign()
    // Not signed, because gateways rewrite them.
    headers.set('accept-encoding', 'identity')
    if (body !== undefined) headers.set('content-type', body.mimeType)
    return { url, headers }
  }

  /** One try. Rejects where there was no whole answer in time. */
  async function exchange(method: Method, key: string, { body, limitBytes = 0, range }: Wish): Promise<Reply> {
    const { url, headers } = await signed(method, key, body)
    if (range !== undefined) headers.set('range', `bytes=${range.join('-')}`)
    const late = new AbortController()
    const limit = (bytes: number) =>
      setTimeout(() => late.abort(new Error('no answer in time')), patience.stallMs + bytes / SLOWEST_BYTES_PER_MS)
    let timer = limit(body?.bytes.byteLength ?? 0)
    try {
      const response = await fetch(url, {
        method,
        headers,
        redirect: 'manual',
        signal: late.signal,
        ...(body === undefined ? {} : { body: body.bytes as Uint8Array<ArrayBuffer> }),
      })
      const { status, ok } = response
      const announced = response.headers.get('content-length')
      const length = announced === null ? null : Number(announced)
      const readable = ok ? limitBytes : REFUSAL_LIMIT_BYTES
      clearTimeout(timer)
      timer = limit(Math.min(length ?? readable, readable))
      const bytes = method === 'HEAD' ? Buffer.alloc(0) : await readUpTo(response, length, readable)
      const code = ok ? null : (/<Code>(\w{1,64})<\/Code>/.exec(bytes?.toString('latin1') ?? '')?.[1] ?? null)
      const etag = response.headers.get('etag')?.replaceAll('"', '') ?? null
      return { status, code, length, etag, bytes }
    } finally {
      clearTimeout(timer)
      late.abort()
    }
  }

  /** Asks until there is an answer: what was asked for, or that it is not there. */
  async function ask(method: Method, key: string, wish: Wish): Promise<Reply> {
    const startedMs = performance.now()
    for (let pauseMs = patience.pauseMs; ; pauseMs = Math.min(2 * pauseMs, PAUSE_MAX_MS)) {
      let why: string
      let cause: unknown
      let other: Reply | undefined
      try {
        const reply = await exchange(method, key, wish)
        const { status, code, bytes } = reply
        const isThere = status >= 200 && status < 300
        if (isThere && (bytes === null || wish.isWhole?.(bytes) !== false)) return reply
        if (status === 404 && code !== 'NoSuchBucket' && method !== 'PUT') return reply
        if (isThere) other = reply
        why = isThere ? 'other bytes than were stored' : [`HTTP ${status}`, code ?? ''].join(' ').trim()
        if (!isThere && !mayPass(reply)) {
          throw new RefusedError(
            `the object store refused a ${method} (${why}); check the bucket of ARTIFACT_STORE, AWS_REGION, S3_ENDPOINT, and what the credentials may do`,
          )
        }
      } catch (error) {
        if (error instanceof RefusedError) throw error
        why = 'no answer'
        cause = error
      }
      if (performance.now() - startedMs + pauseMs > wish.forMs) {
        if (other !== undefined) return other
        log.warn({ method, why, err: cause }, 'the object store does not answer')
        const message = `The object store of ARTIFACT_STORE does not answer at the moment (${method}: ${why}).`
        throw new FabriqueError('unavailable', message, { cause })
      }
      await delay(pauseMs * (0.5 + Math.random() / 2))
    }
  }

  return {
    async put(organizationId, bytes, mimeType) {
      if (bytes.byteLength > ARTIFACT_LIMIT_BYTES) throw tooLarge(ARTIFACT_LIMIT_BYTES)
      const place = placeOf(organizationId, bytes, mimeType)
      const present = await ask('HEAD', place.storageKey, { forMs: writeMs }).catch((error: unknown) => {
        // Credentials that may write but not list get 403 for an object that is not there.
        if (error instanceof RefusedError) return null
        throw error
      })
      const isDamaged = present?.etag?.length === MD5_LENGTH && present.etag !== md5Of(bytes)
      if (present?.status === 404 || present?.length !== bytes.byteLength || isDamaged) {
        await ask('PUT', place.storageKey, { forMs: writeMs, body: { bytes, mimeType } })
      }
      return place
    },
    async get(storageKey) {
      const { sha256 } = checkedKey(storageKey)
      const { status, bytes } = await ask('GET', storageKey, {
        forMs: readMs,
        limitBytes: ARTIFACT_LIMIT_BYTES,
        isWhole: (found) => sha256Of(found) === sha256,
      })
      if (status === 404) throw gone()
      if (bytes === null) throw tooLarge(ARTIFACT_LIMIT_BYTES)
      return intact(bytes, sha256)
    },
    open: createOpen({
      async look(storageKey) {
        const { status, length, etag } = await ask('HEAD', storageKey, { forMs: readMs })
        return status === 404 || length === null ? null : { size: length, version: `${length} ${etag}` }
      },
      async *bytes(storageKey, first, last) {
        for (let from = first; from <= last; from += PART_BYTES) {
          const to = Math.min(from + PART_BYTES - 1, last)
          const size = to - from + 1
          const isWhole = (found: Buffer) => found.byteLength === size
          const wish: Wish = { forMs: readMs, limitBytes: size, range: [from, to], isWhole }
          const { status, bytes } = await ask('GET', storageKey, wish)
          if (status === 404 || bytes === null) throw gone()
          yield bytes
        }
      },
    }),
    async stage(callId, answer) {
      const bytes = encodeAnswer(answer)
      if (bytes.byteLength > ANSWER_LIMIT_BYTES) throw tooLarge(ANSWER_LIMIT_BYTES)
      const body = { bytes, mimeType: 'application/octet-stream' }
      await ask('PUT', stagingPlaceOf(callId), { forMs: writeMs, body })
    },
    async staged(callId) {
      const wish = { forMs: readMs, limitBytes: ANSWER_LIMIT_BYTES }
      const { status, bytes } = await ask('GET', stagingPlaceOf(callId), wish)
      if (status === 404) return null
      if (bytes === null) throw tooLarge(ANSWER_LIMIT_BYTES)
      return decodeAnswer(bytes)
    },
    async unstage(callId) {
      await ask('DELETE', stagingPlaceOf(callId), { forMs: readMs }).catch((error: unknown) =>
        log.warn({ err: error }, 'a staged answer could not be removed; it stays in the bucket'),
      )
    },
    /** Whether the bucket answers; that it did so is believed for some seconds. */
    async ready() {
      if (performance.now() < answeredUntilMs) return
      await ask('HEAD', `${STAGING}/ready`, { forMs: readMs }).catch((error: unknown) => {
        if (!(error instanceof RefusedError)) throw error
      })
      answeredUntilMs = performance.now() + ANSWERED_MS
    },
    /** Left to a lifecycle rule of the bucket: listing costs, and has rights of its own. */
    async sweep() {},
  }
}

function md5Of(bytes: Uint8Array): string {
  return createHash('md5').update(bytes).digest('hex')
}

/** What repeating cannot mend. */
class RefusedError extends Error {
  override name = 'RefusedError'
}

function tooLarge(limitBytes: number): Error {
  return new Error(`this is larger than ${limitBytes / MIB} MiB, the limit of the object store`)
}

function mayPass({ status, code }: Reply): boolean {
  return status >= 500 || status === 429 || status === 408 || code === 'RequestTimeout' || code === 'OperationAborted'
}

/** The body, or null where it is longer. */
async function readUpTo(response: Response, length: number | null, limitBytes: number): Promise<Buffer | null> {
  if (response.body === null) return Buffer.alloc(0)
  if (length !== null && length > limitBytes) return null
  const chunks: Uint8Array[] = []
  let total = 0
  for await (const chunk of response.body) {
    total += chunk.byteLength
    if (total > limitBytes) return null
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
