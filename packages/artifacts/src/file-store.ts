// Artifacts as files: content-addressed blobs and a staging area, below one folder.
// Hides durability: a file is complete under its final name or not there at all.
import { randomUUID } from 'node:crypto'
import { chmod, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { ArtifactStore } from '@fabrique/engine'
import { checkedKey, decodeAnswer, encodeAnswer, placeOf, stagingPlaceOf } from './layout.ts'

/** A store below `root`, which is created when first written to. */
export function createFileArtifactStore(root: string, killpoint?: (name: string) => void): ArtifactStore {
  const stagingOf = (callId: string) => join(root, stagingPlaceOf(callId))
  let opened: Promise<void> | undefined

  /** Makes the folder, and closes it to other users also where an earlier version left it open to them. */
  function open(): Promise<void> {
    opened ??= mkdir(root, { recursive: true, mode: 0o700 }).then(() => chmod(root, 0o700))
    opened.catch(() => (opened = undefined))
    return opened
  }

  async function write(path: string, bytes: Uint8Array): Promise<void> {
    await open()
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    const partial = `${path}.${randomUUID()}.partial`
    try {
      await writeFile(partial, bytes, { flag: 'wx', mode: 0o600, flush: true })
      killpoint?.('W6')
      await rename(partial, path)
    } catch (error) {
      // A full disk must not be left with what could not be finished.
      await rm(partial, { force: true }).catch(() => {})
      throw error
    }
  }

  return {
    async put(organizationId, bytes, mimeType) {
      const place = placeOf(organizationId, bytes, mimeType)
      const path = join(root, place.storageKey)
      const present = await stat(path).catch(() => null)
      if (present?.size !== bytes.byteLength) await write(path, bytes)
      return place
    },
    async get(storageKey) {
      return await readFile(join(root, checkedKey(storageKey).storageKey))
    },
    async stage(callId, answer) {
      await write(stagingOf(callId), encodeAnswer(answer))
    },
    async staged(callId) {
      const bytes = await readFile(stagingOf(callId)).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return null
        throw error
      })
      return bytes === null ? null : decodeAnswer(bytes)
    },
    async unstage(callId) {
      await rm(stagingOf(callId), { force: true })
    },
  }
}
