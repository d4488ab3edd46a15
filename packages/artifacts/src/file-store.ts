// Artifacts as files: content-addressed blobs and a staging area, below one folder.
// Hides durability: a file is complete under its final name or not there at all.
import { randomUUID } from 'node:crypto'
import { constants, createReadStream } from 'node:fs'
import { access, chmod, mkdir, readdir, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { ArtifactStore } from '@fabrique/engine'
import { FabriqueError } from '@fabrique/schema'
import { checkedKey, decodeAnswer, encodeAnswer, gone, intact, placeOf, STAGING, stagingPlaceOf } from './layout.ts'
import { createOpen } from './parts.ts'

export interface FileStoreOptions {
  /** No call is begun where less room is left than this; default 256 MiB. */
  reserveBytes?: number | undefined
  /** Where a test kills the process. */
  killpoint?: ((name: string) => void) | undefined
}

const RESERVE_BYTES = 256 * 1_048_576
const PARTIAL = '.partial'
/** No write of one file takes longer. */
const PARTIAL_KEPT_MS = 3_600_000

/** A store below `root`, which is created now; where it vanishes later, the store is away until it is back. */
export function createFileArtifactStore(
  root: string,
  { reserveBytes = RESERVE_BYTES, killpoint }: FileStoreOptions = {},
): ArtifactStore {
  const stagingOf = (callId: string) => join(root, stagingPlaceOf(callId))
  /** Closed to other users also where an earlier version left it open to them. */
  const created = mkdir(root, { recursive: true, mode: 0o700 })
    .then(() => chmod(root, 0o700))
    .catch(() => {})

  async function write(path: string, bytes: Uint8Array): Promise<void> {
    // Never made again: a disk that is not mounted must not be mistaken for an empty store.
    await created
    await stat(root)
    for (const folder of [dirname(path), join(root, STAGING)]) await mkdir(folder, { recursive: true, mode: 0o700 })
    const partial = join(root, STAGING, randomUUID() + PARTIAL)
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

  /** What is asked of a file; null where the store is there and the file is not. */
  async function ofFile<Found>(asked: Promise<Found>): Promise<Found | null> {
    try {
      return await asked
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      await stat(root)
      return null
    }
  }

  return {
    async put(organizationId, bytes, mimeType) {
      const place = placeOf(organizationId, bytes, mimeType)
      const path = join(root, place.storageKey)
      await available(async () => {
        const present = await ofFile(readFile(path)).catch(() => null)
        if (present?.equals(bytes) !== true) await write(path, bytes)
      })
      return place
    },
    async get(storageKey) {
      const { sha256 } = checkedKey(storageKey)
      const bytes = await available(() => ofFile(readFile(join(root, storageKey))))
      if (bytes === null) throw gone()
      return intact(bytes, sha256)
    },
    open: createOpen({
      async look(storageKey) {
        const file = await available(() => ofFile(stat(join(root, storageKey), { bigint: true })))
        return file && { size: Number(file.size), version: [file.ino, file.size, file.mtimeNs, file.ctimeNs].join() }
      },
      bytes: (storageKey, start, end) => createReadStream(join(root, storageKey), { start, end }),
    }),
    async stage(callId, answer) {
      await available(() => write(stagingOf(callId), encodeAnswer(answer)))
    },
    async staged(callId) {
      const bytes = await available(() => ofFile(readFile(stagingOf(callId))))
      return bytes === null ? null : decodeAnswer(bytes)
    },
    async unstage(callId) {
      await rm(stagingOf(callId), { force: true }).catch(() => {})
    },
    async ready() {
      await available(async () => {
        await created
        // Not of something else that took the place of the folder.
        await access(`${root}/.`, constants.W_OK)
      })
      const { bavail, bsize } = await available(() => statfs(root))
      if (bavail * bsize < reserveBytes) throw away('it has less room left than ARTIFACT_RESERVE_MIB asks for')
    },
    async sweep(ageMs) {
      const folder = join(root, STAGING)
      for (const name of await readdir(folder).catch(() => [])) {
        const path = join(folder, name)
        // Another process may sweep at the same time.
        const file = await stat(path).catch(() => null)
        const keptMs = name.endsWith(PARTIAL) ? Math.min(ageMs, PARTIAL_KEPT_MS) : ageMs
        if (file !== null && file.mtimeMs < Date.now() - keptMs) await rm(path, { force: true }).catch(() => {})
      }
    },
  }
}

/** Does what needs the disk: whatever that refuses is not there at the moment. */
async function available<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work()
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException
    if (syscall === undefined) throw error
    throw away(code === 'ENOSPC' || code === 'EDQUOT' ? 'it is full' : `its disk answers ${code}`, error)
  }
}

function away(why: string, cause?: unknown): FabriqueError {
  return new FabriqueError('unavailable', `The artifact store cannot be used at the moment: ${why}.`, {
    cause,
    retryAfterS: 5,
  })
}
