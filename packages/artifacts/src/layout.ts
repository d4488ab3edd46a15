// How a store is laid out, whatever it lies on: the keys of artifacts, the names of staged answers, and their bytes.
// Hides nothing of where: two stores with the same content hold the same keys.
import { createHash } from 'node:crypto'
import type { StagedAnswer } from '@fabrique/engine'
import { FabriqueError } from '@fabrique/schema'
import { extensionOf } from './extension.ts'

/** This is the whole alphabet of keys, so that no key leads out of its store. */
const STORAGE_KEY = /^[A-Za-z0-9_-]{1,64}\/[0-9a-f]{2}\/([0-9a-f]{64})\.[a-z0-9]{1,8}$/

/** The SHA-256 of bytes or text, in hexadecimal digits. */
export function sha256Of(content: Uint8Array | string): string {
  return createHash('sha256').update(content).digest('hex')
}

/** Where an organization's bytes belong, by their content. */
export function placeOf(organizationId: string, bytes: Uint8Array, mimeType: string) {
  const sha256 = sha256Of(bytes)
  const storageKey = `${organizationId}/${sha256.slice(0, 2)}/${sha256}.${extensionOf(mimeType)}`
  return { storageKey: checkedKey(storageKey).storageKey, sha256 }
}

/** A key that a store may follow, with the hash that it names. Throws for anything that `placeOf` does not make. */
export function checkedKey(storageKey: string): { storageKey: string; sha256: string } {
  const sha256 = STORAGE_KEY.exec(storageKey)?.[1]
  if (sha256 === undefined) throw new Error('this is not a storage key')
  return { storageKey, sha256 }
}

/** Bytes that have this hash, as they are; throws where they were altered or cut since they were stored. */
export function intact(bytes: Buffer, sha256: string): Buffer {
  if (sha256Of(bytes) === sha256) return bytes
  throw damaged()
}

export function damaged(): FabriqueError {
  return new FabriqueError(
    'artifact-damaged',
    'The stored file is not what was stored; a run that makes it again mends it.',
  )
}

export function gone(): FabriqueError {
  return new FabriqueError('artifact-gone', 'The file is no longer in the artifact store.')
}

/** Below it lies what is not an artifact: answers that are not booked yet, and files that are not complete. */
export const STAGING = 'staging'

/** Where the answer of a call is staged; any text is a call id. */
export function stagingPlaceOf(callId: string): string {
  return `${STAGING}/${sha256Of(callId)}`
}

/** One file per answer: the hash of the rest, a length, a JSON head that names the sizes, then the files' bytes in turn. */
export function encodeAnswer({ files, ...rest }: StagedAnswer): Uint8Array {
  const head = Buffer.from(
    JSON.stringify({
      ...rest,
      files: files.map(({ name, mimeType, bytes }) => ({ name, mimeType, size: bytes.byteLength })),
    }),
  )
  const length = Buffer.alloc(4)
  length.writeUInt32LE(head.byteLength)
  const parts = [length, head, ...files.map(({ bytes }) => bytes)]
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return Buffer.concat([hash.digest(), ...parts])
}

const HASH_BYTES = 32

/** What `encodeAnswer` was given; the files are views of `encoded`. Null where that was altered or cut. */
export function decodeAnswer(encoded: Buffer): StagedAnswer | null {
  const data = encoded.subarray(HASH_BYTES)
  if (!createHash('sha256').update(data).digest().equals(encoded.subarray(0, HASH_BYTES))) return null
  const end = 4 + data.readUInt32LE(0)
  const head = JSON.parse(data.toString('utf8', 4, end)) as Omit<StagedAnswer, 'files'> & {
    files: { name: string; mimeType: string; size: number }[]
  }
  let at = end
  const files = head.files.map(({ name, mimeType, size }) => {
    at += size
    return { name, mimeType, bytes: data.subarray(at - size, at) }
  })
  return { ...head, files }
}
