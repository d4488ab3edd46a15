// Where artifact bytes live, by ARTIFACT_STORE: `file:///abs/dir`, a folder, or `s3://bucket/prefix`.
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ArtifactStore, Log } from '@fabrique/engine'
import { createFileArtifactStore } from './file-store.ts'
import { createS3ArtifactStore, type S3Access } from './s3-store.ts'

export interface ArtifactStoreSettings {
  address: string
  /** Required by an `s3://` address. */
  s3?: S3Access | undefined
  /** Of a folder: no call is begun where less room is left than this. */
  reserveBytes?: number | undefined
}

/** The store that an address names; throws for a scheme that there is no adapter for. `killpoint` is for tests of recovery. */
export function createArtifactStore(
  { address, s3, reserveBytes }: ArtifactStoreSettings,
  log: Log,
  killpoint?: (name: string) => void,
): ArtifactStore {
  if (!address.startsWith('s3://')) return createFileArtifactStore(folderOf(address), { reserveBytes, killpoint })
  if (s3 === undefined) throw new Error('ARTIFACT_STORE: an s3:// address needs credentials')
  return createS3ArtifactStore(address, s3, log)
}

/** Where a person finds an artifact: its file, or its address in the bucket. */
export function artifactLocation(address: string, storageKey: string): string {
  if (address.startsWith('s3://')) return `${address.replace(/(?<!\/)\/+$/, '')}/${storageKey}`
  return join(folderOf(address), storageKey)
}

function folderOf(address: string): string {
  if (address.startsWith('file://')) return fileURLToPath(address)
  if (/^[a-z0-9+.-]+:\/\//i.test(address))
    throw new Error(`ARTIFACT_STORE: there is no store for ${address.split(':')[0]} addresses`)
  return resolve(address)
}

export { createFileArtifactStore }
export { extensionOf, mediaTypeOf } from './extension.ts'
