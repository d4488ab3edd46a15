// Where artifact bytes live, by ARTIFACT_STORE: `file:///abs/dir`, or a folder.
import { fileURLToPath } from 'node:url'
import type { ArtifactStore } from '@fabrique/engine'
import { createFileArtifactStore } from './file-store.ts'

/** The store that a setting names; throws for a scheme that there is no adapter for. */
export function createArtifactStore(setting: string): ArtifactStore {
  if (setting.startsWith('file://')) return createFileArtifactStore(fileURLToPath(setting))
  if (/^[a-z0-9+.-]+:\/\//i.test(setting))
    throw new Error(`ARTIFACT_STORE: there is no store for ${setting.split(':')[0]} addresses`)
  return createFileArtifactStore(setting)
}

export { createFileArtifactStore }
export { extensionOf } from './extension.ts'
