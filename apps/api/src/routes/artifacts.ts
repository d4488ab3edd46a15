// Artifacts: what they are, and their bytes. Never inline where a browser would run them.
import { Readable } from 'node:stream'
import { extensionOf } from '@fabrique/artifacts'
import { Artifact, FabriqueError, list, RunId } from '@fabrique/schema'
import { Counter } from 'prom-client'
import { z } from 'zod'
import type { AppDeps } from '../deps.ts'
import { isKnown } from '../request-headers.ts'
import { found, notFound, orNotFound } from '../found.ts'
import { type Call, operator, type Route, URL_CREDENTIAL } from '../route.ts'

const Bytes = z.unknown()
/** Few, so that few are made. */
const Width = z.enum(['160', '320', '640', '1280']).default('320')
/** Artifacts never change, and belong to whoever may read them. */
const KEPT = { 'cache-control': 'private, max-age=31536000, immutable', 'x-content-type-options': 'nosniff' }
const INLINE = /^(image\/(png|webp|jpeg|gif|avif)|audio\/|video\/)/

export function artifactRoutes({
  artifacts,
  artifactStore,
  log,
  registry,
  thumbnails,
}: Pick<AppDeps, 'artifacts' | 'artifactStore' | 'log' | 'registry' | 'thumbnails'>): Route[] {
  const lost = new Counter({
    name: 'fabrique_artifacts_lost_total',
    help: 'Reads of artifacts whose file is gone from the store, or is not what was stored',
    labelNames: ['code'],
    registers: [registry],
  })
  /** What the store answers of a file; one that is lost is counted. */
  const orLost = async <Answer>(id: string, storageKey: string, asked: Promise<Answer>): Promise<Answer> =>
    await asked.catch((error: unknown) => {
      if (FabriqueError.is(error, 'unavailable') || !FabriqueError.is(error))
        throw new FabriqueError('unavailable', 'The file cannot be read at the moment.', { cause: error })
      lost.inc({ code: error.code })
      log.error({ artifact: id, storage_key: storageKey, code: error.code }, 'an artifact is lost')
      throw error
    })
  const runOf = async ({ principal, param }: Pick<Call<never>, 'principal' | 'param'>) =>
    (await artifacts.get(principal.organizationId, param('id')))?.run_id ?? null
  return [
    operator.get('listArtifacts', '/v1/artifacts', {
      query: z.strictObject({ run_id: RunId.optional().describe('With the artifacts of its slots.') }),
      summary: 'The artifacts of a run, or the newest ones',
      answers: { 200: list(Artifact) },
      runOf: ({ query }) => query.run_id ?? null,
      handle: async ({ c, principal, query }) =>
        c.json({ data: await artifacts.list(principal.organizationId, query.run_id ?? null) }),
    }),
    operator.get('getArtifact', '/v1/artifacts/:id', {
      summary: 'An artifact',
      answers: { 200: Artifact },
      runOf,
      handle: found('artifact', artifacts.get),
    }),
    operator.get('getArtifactThumbnail', '/v1/artifacts/:id/thumbnail', {
      query: z.strictObject({ width: Width, ...URL_CREDENTIAL }),
      summary: 'A picture of this width at most, as WebP; of pictures only',
      runOf,
      answers: { 200: { 'image/webp': Bytes }, 304: null },
      headers: ['If-None-Match', 'ETag', 'Cache-Control'],
      async handle({ c, principal, query, param }) {
        const artifact = orNotFound(await artifacts.get(principal.organizationId, param('id')), 'artifact')
        if (!artifact.mime_type.startsWith('image/')) throw notFound('thumbnail: the artifact is no picture')
        const etag = `"${artifact.sha256}-${query.width}"`
        const headers = { etag, 'content-type': 'image/webp', ...KEPT }
        if (isKnown(c, etag)) return c.body(null, 304, headers)
        const { id, sha256, storage_key: storageKey } = artifact
        const read = () => orLost(id, storageKey, artifactStore.get(storageKey))
        return c.body(await thumbnails.of(sha256, Number(query.width), read), 200, headers)
      },
    }),
    operator.get('getArtifactContent', '/v1/artifacts/:id/content', {
      query: z.strictObject(URL_CREDENTIAL),
      summary: "An artifact's bytes, whole or a range of them",
      runOf,
      answers: { 200: { '*/*': Bytes }, 206: { '*/*': Bytes }, 304: null, 416: null },
      headers: [
        'If-None-Match',
        'Range',
        'ETag',
        'Accept-Ranges',
        'Content-Range',
        'Content-Disposition',
        'Cache-Control',
      ],
      async handle({ c, principal, param }) {
        const {
          mime_type: mimeType,
          sha256,
          storage_key: storageKey,
        } = orNotFound(await artifacts.get(principal.organizationId, param('id')), 'artifact')
        const etag = `"${sha256}"`
        const headers: Record<string, string> = {
          etag,
          'content-type': mimeType,
          ...KEPT,
          'accept-ranges': 'bytes',
          'content-security-policy': "sandbox; default-src 'none'",
          'content-disposition': `${INLINE.test(mimeType) ? 'inline' : 'attachment'}; filename="${param('id')}.${extensionOf(mimeType)}"`,
        }
        if (isKnown(c, etag)) return c.body(null, 304, headers)
        const file = await orLost(param('id'), storageKey, artifactStore.open(storageKey))
        const range = c.req.header('range')
        const bounds = range === undefined ? ([0, file.size - 1] as const) : rangeOf(range, file.size)
        if (bounds === null) return c.body(null, 416, { ...headers, 'content-range': `bytes */${file.size}` })
        const [from, to] = bounds
        headers['content-length'] = String(to - from + 1)
        const body = Readable.toWeb(Readable.from(file.read(from, to))) as ReadableStream<Uint8Array<ArrayBuffer>>
        if (range === undefined) return c.body(body, 200, headers)
        return c.body(body, 206, { ...headers, 'content-range': `bytes ${from}-${to}/${file.size}` })
      },
    }),
  ]
}

/** The first and last byte of a single range (RFC 9110 §14.1.2); null for none, several, or one outside. */
function rangeOf(header: string, size: number): [number, number] | null {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header.trim())
  if (match === null) return null
  const [, first = '', last = ''] = match
  if (first === '' && last === '') return null
  if (first === '') return Number(last) === 0 ? null : [Math.max(0, size - Number(last)), size - 1]
  const from = Number(first)
  const to = last === '' ? size - 1 : Math.min(Number(last), size - 1)
  return from > to || from >= size ? null : [from, to]
}
