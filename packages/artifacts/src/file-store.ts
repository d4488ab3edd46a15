// Artifacts as files: content-addressed blobs and a staging area, below one folder.
// Hides durability: a file is complete under its final name or not there at all.
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { ArtifactStore, StagedAnswer } from '@fabrique/engine'
import { extensionOf } from './extension.ts'

/** Keys are made by `put`; this is the whole alphabet of them, so that no key leads out of the folder. */
const STORAGE_KEY = /^[A-Za-z0-9_-]{1,64}\/[0-9a-f]{2}\/[0-9a-f]{64}\.[a-z0-9]{1,8}$/

/** A store below `root`, which is created when first written to. */
export function createFileArtifactStore(root: string): ArtifactStore {
  const stagingOf = (callId: string) => join(root, 'staging', createHash('sha256').update(callId).digest('hex'))

  async function write(path: string, bytes: Uint8Array): Promise<void> {
    await mkdir(dirname(path), { recursive: true })
    const partial = `${path}.${randomUUID()}.partial`
    const file = await open(partial, 'wx', 0o644)
    try {
      await file.writeFile(bytes)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(partial, path)
  }

  return {
    async put(organizationId, bytes, mimeType) {
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      const storageKey = `${organizationId}/${sha256.slice(0, 2)}/${sha256}.${extensionOf(mimeType)}`
      const path = join(root, storageKey)
      const present = await stat(path).catch(() => null)
      if (present?.size !== bytes.byteLength) await write(path, bytes)
      return { storageKey, sha256 }
    },
    async get(storageKey) {
      if (!STORAGE_KEY.test(storageKey)) throw new Error('this is not a storage key')
      return await readFile(join(root, storageKey))
    },
    async stage(callId, answer) {
      await write(stagingOf(callId), encode(answer))
    },
    async staged(callId) {
      const bytes = await readFile(stagingOf(callId)).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return null
        throw error
      })
      return bytes === null ? null : decode(bytes)
    },
    async unstage(callId) {
      await rm(stagingOf(callId), { force: true })
    },
  }
}

/** One file per answer: a length, a JSON head that names the sizes, then the files' bytes one after another. */
function encode({ output, usage, files }: StagedAnswer): Uint8Array {
  const head = Buffer.from(
    JSON.stringify({
      output,
      usage,
      files: files.map(({ name, mimeType, bytes }) => ({ name, mimeType, size: bytes.byteLength })),
    }),
  )
  const length = Buffer.alloc(4)
  length.writeUInt32LE(head.byteLength)
  return Buffer.concat([length, head, ...files.map(({ bytes }) => bytes)])
}

function decode(data: Buffer): StagedAnswer {
  const end = 4 + data.readUInt32LE(0)
  const head = JSON.parse(data.toString('utf8', 4, end)) as Omit<StagedAnswer, 'files'> & {
    files: { name: string; mimeType: string; size: number }[]
  }
  let at = end
  const files = head.files.map(({ name, mimeType, size }) => {
    at += size
    return { name, mimeType, bytes: data.subarray(at - size, at) }
  })
  return { output: head.output, usage: head.usage, files }
}
