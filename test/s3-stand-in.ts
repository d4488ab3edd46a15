// An S3 bucket on loopback: objects in memory, signatures checked by a computation of its own, faults on request.
// Hides the wire format; a test says what goes wrong with which request, and reads what was asked and what is stored.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

const ACCESS_KEY_ID = 'AKIASTANDIN'
const SECRET_ACCESS_KEY = 'stand-in/secret+key'
const SESSION_TOKEN = 'stand-in-session-token'
const REGION = 'eu-test-1'
const BUCKET = 'stand-in-bucket'
const CLOCK_SKEW_MAX_MS = 15 * 60_000
/** What has to be under the signature, so that no part of a request can be exchanged. */
const SIGNED_HEADERS = ['host', 'x-amz-content-sha256', 'x-amz-date', 'x-amz-security-token']

/** One request as it arrived. */
export interface AskedObject {
  method: string
  /** The object's key in the bucket. */
  key: string
  /** How often this was asked of this key, from 1. */
  nth: number
  headers: IncomingMessage['headers']
  /** The answer's status; 0 where the connection was cut instead. */
  status: number
}

/** What happens to a request instead of the usual answer; `hold` comes first, then the rest. */
export interface ObjectFault {
  /** Nothing is answered before this resolves. */
  hold?: Promise<unknown>
  /** Answered instead; what was asked for is done all the same where `done` is true. */
  status?: number
  code?: string
  done?: boolean
  /** Sent instead of the object's bytes. */
  body?: Uint8Array
  /** Cuts the connection: instead of an answer, or in the middle of the body. */
  reset?: 'before' | 'midway'
}

export interface S3StandIn {
  /** The variables that make a process keep its artifacts here, below the prefix `some/prefix`. */
  env: Record<string, string>
  /** What is stored, by its key in the bucket. */
  objects: Map<string, Buffer>
  asked(method?: string): AskedObject[]
  /** Decides from now on what goes wrong; null for nothing. */
  meddle(fault: ((asked: AskedObject) => ObjectFault | undefined) | null): void
  /** Cuts what is under way; from then on nobody answers. */
  close(): Promise<void>
}

/** An empty bucket on a free port. */
export async function createS3StandIn(): Promise<S3StandIn> {
  const objects = new Map<string, Buffer>()
  const log: AskedObject[] = []
  let faultOf: ((asked: AskedObject) => ObjectFault | undefined) | null = null

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const sent = Buffer.concat(await request.toArray())
    const { method = '', headers } = request
    const [path = '', query] = (request.url ?? '').split('?')
    const key = path.slice(`/${BUCKET}/`.length)
    const nth = 1 + log.filter((one) => one.method === method && one.key === key).length
    const asked: AskedObject = { method, key, nth, headers, status: 0 }
    log.push(asked)

    function reply(status: number, body: Uint8Array = Buffer.alloc(0)): void {
      asked.status = status
      const etag = `"${createHash('md5').update(body).digest('hex')}"`
      response.writeHead(status, { 'content-length': body.byteLength, etag })
      response.end(method === 'HEAD' ? undefined : body)
    }
    const refuse = (status: number, code: string) =>
      reply(status, Buffer.from(`<?xml version="1.0"?>\n<Error><Code>${code}</Code><Message>no</Message></Error>`))

    const wrong = signatureFault(request, path, query, sent)
    if (wrong !== null) return refuse(403, wrong)
    if (!path.startsWith(`/${BUCKET}/`) || key === '') return refuse(404, 'NoSuchBucket')
    const fault = faultOf?.(asked) ?? {}
    await fault.hold
    if (fault.reset === 'before') return void request.socket.destroy()

    const there = objects.get(key)
    const failed = fault.status !== undefined
    if (!failed || fault.done === true) {
      if (method === 'PUT') objects.set(key, sent)
      if (method === 'DELETE') objects.delete(key)
    }
    if (failed) return refuse(fault.status ?? 500, fault.code ?? 'InternalError')
    if (method === 'PUT') return reply(200)
    if (method === 'DELETE') return reply(204)
    if (method !== 'GET' && method !== 'HEAD') return refuse(405, 'MethodNotAllowed')
    if (there === undefined) return refuse(404, 'NoSuchKey')
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? []
    if (from !== undefined) return reply(206, (fault.body ?? there).subarray(Number(from), Number(to) + 1))
    if (fault.reset !== 'midway') return reply(200, fault.body ?? there)
    response.writeHead(200, { 'content-length': there.byteLength })
    response.write(there.subarray(0, there.byteLength / 2), () => request.socket.destroy())
  }

  const server = createServer((request, response) => {
    // A client that is gone leaves nothing to answer.
    answer(request, response).catch(() => request.socket.destroy())
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo

  return {
    env: {
      ARTIFACT_STORE: `s3://${BUCKET}/some/prefix`,
      S3_ENDPOINT: `http://127.0.0.1:${port}`,
      AWS_ACCESS_KEY_ID: ACCESS_KEY_ID,
      AWS_SECRET_ACCESS_KEY: SECRET_ACCESS_KEY,
      AWS_SESSION_TOKEN: SESSION_TOKEN,
      AWS_REGION: REGION,
    },
    objects,
    asked: (method) => log.filter((one) => method === undefined || one.method === method),
    meddle(fault) {
      faultOf = fault
    },
    async close() {
      server.closeAllConnections()
      await new Promise((done) => server.close(done))
    },
  }
}

/** S3's name for what is wrong with a request's signature (Signature Version 4, in its header form), or null. */
function signatureFault(
  { method = '', headers }: IncomingMessage,
  path: string,
  query: string | undefined,
  body: Buffer,
): string | null {
  const [, accessKeyId, day = '', region, signedNames = '', given = ''] =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(
      headers.authorization ?? '',
    ) ?? []
  if (accessKeyId === undefined) return 'AccessDenied'
  if (accessKeyId !== ACCESS_KEY_ID) return 'InvalidAccessKeyId'
  if (region !== REGION) return 'AuthorizationHeaderMalformed'
  if (headers['x-amz-security-token'] !== SESSION_TOKEN) return 'InvalidToken'

  const date = String(headers['x-amz-date'])
  const [, y, mo, d, h, mi, s] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(date) ?? []
  const at = Date.parse(`${y}-${mo}-${d}T${h}:${mi}:${s}Z`)
  if (!date.startsWith(day) || !(Math.abs(Date.now() - at) < CLOCK_SKEW_MAX_MS)) return 'RequestTimeTooSkewed'

  const bodyHash = createHash('sha256').update(body).digest('hex')
  if (headers['x-amz-content-sha256'] !== bodyHash) return 'XAmzContentSHA256Mismatch'

  const names = signedNames.split(';')
  if (SIGNED_HEADERS.some((name) => !names.includes(name))) return 'AccessDenied'
  const canonical = [
    method,
    path,
    query ?? '',
    ...names.map((name) => `${name}:${String(headers[name]).trim()}`),
    '',
    signedNames,
    bodyHash,
  ].join('\n')
  const scope = `${day}/${region}/s3/aws4_request`
  const text = ['AWS4-HMAC-SHA256', date, scope, createHash('sha256').update(canonical).digest('hex')].join('\n')
  const hmac = (secret: string | Buffer, part: string) => createHmac('sha256', secret).update(part).digest()
  const signingKey = [region, 's3', 'aws4_request'].reduce<Buffer>(hmac, hmac(`AWS4${SECRET_ACCESS_KEY}`, day))
  return timingSafeEqual(hmac(signingKey, text), Buffer.from(given, 'hex')) ? null : 'SignatureDoesNotMatch'
}
