// The operator app under /app/: its files from memory, and the policy of its page.
// Hides compression, caching, and that every address of the app is the same page.
import { createHash, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { extname, join, relative, sep } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'
import { FabriqueError } from '@fabrique/schema'
import type { Hono } from 'hono'
import { notFound } from './found.ts'
import { isKnown } from './request-headers.ts'
import type { ApiContext } from './route.ts'

const MEDIA_TYPES: Record<string, string> = {
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
}
/** What the page's own build writes, for the server to fill in. */
const NONCE_PLACEHOLDER = /__CSP_NONCE__/g
/** Brotli 5 takes 30 ms for all files; 11 takes a second and saves a tenth. */
const BROTLI = { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } }
const SMALL_BYTES = 1_024

type Bytes = Uint8Array<ArrayBuffer>
interface WebFile {
  etag: string
  mediaType: string
  plain: Bytes
  br: Bytes | null
  gzip: Bytes | null
}

export interface WebApp {
  page: string
  /** By the path below /app/. */
  files: ReadonlyMap<string, WebFile>
}

/** Reads the app as `npm run up` has built it; throws where the folder has no page. */
export function readWebApp(folder: string): WebApp {
  const files = new Map<string, WebFile>()
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    const mediaType = MEDIA_TYPES[extname(entry.name)]
    if (!entry.isFile() || mediaType === undefined) continue
    const plain = readFileSync(path)
    const isPacked = plain.byteLength > SMALL_BYTES && mediaType !== 'font/woff2'
    files.set(relative(folder, path).split(sep).join('/'), {
      etag: `"${createHash('sha256').update(plain).digest('base64url')}"`,
      mediaType,
      plain,
      br: isPacked ? brotliCompressSync(plain, BROTLI) : null,
      gzip: isPacked ? gzipSync(plain) : null,
    })
  }
  return { page: readFileSync(join(folder, 'index.html'), 'utf8'), files }
}

/** Nothing from elsewhere, nothing inline but style elements that carry the nonce. */
const policy = (nonce: string) =>
  [
    "default-src 'none'",
    "script-src 'self'",
    `style-src 'self' 'nonce-${nonce}'`,
    "img-src 'self' blob: data:",
    "media-src 'self' blob:",
    "font-src 'self'",
    "connect-src 'self'",
    "frame-src 'self' blob:",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
  ].join('; ')

/** Serves the app; without one its addresses say how it is built. */
export function mountWebApp(app: Hono<ApiContext>, web: WebApp | null): void {
  app.get('/', (c) => c.redirect('/app/', 302))
  app.get('/app', (c) => c.redirect('/app/', 302))
  app.get('/app/*', (c) => {
    if (web === null)
      throw new FabriqueError('not-found', 'The operator app was not built here; "npm run up" builds and serves it.')
    const path = c.req.path.slice('/app/'.length)
    const file = web.files.get(path)
    if (file === undefined) {
      // A file of an earlier build: the page would be taken for a script.
      if (path.startsWith('assets/')) throw notFound('address')
      const nonce = randomBytes(16).toString('base64url')
      return c.html(web.page.replace(NONCE_PLACEHOLDER, nonce), 200, {
        'cache-control': 'no-cache',
        'content-security-policy': policy(nonce),
        'referrer-policy': 'no-referrer',
        'x-content-type-options': 'nosniff',
      })
    }
    const accepted = c.req.header('accept-encoding') ?? ''
    const encoding = (['br', 'gzip'] as const).find((one) => accepted.includes(one))
    const packed = encoding === undefined ? null : file[encoding]
    const headers = {
      etag: file.etag,
      vary: 'accept-encoding',
      'content-type': file.mediaType,
      'x-content-type-options': 'nosniff',
      'cache-control': path.startsWith('assets/') ? 'public, max-age=31536000, immutable' : 'no-cache',
    }
    if (isKnown(c, file.etag)) return c.body(null, 304, headers)
    if (packed === null || encoding === undefined) return c.body(file.plain, 200, headers)
    return c.body(packed, 200, { ...headers, 'content-encoding': encoding })
  })
}
