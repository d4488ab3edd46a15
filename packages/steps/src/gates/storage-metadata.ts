// `storage metadata`: every promised file is stored, of the promised type, and is what its record says.
import { createHash } from 'node:crypto'
import type { GateKind } from '@fabrique/engine'
import { canonicalType } from '@fabrique/schema'

/** Reads each file back: a hash that was only remembered proves nothing. */
export const storageMetadata: GateKind = {
  type: 'storage-metadata',
  name: 'storage metadata',
  stands: 'end',
  async judge({ files, read }) {
    for (const { role, mimeType, found } of files) {
      if (found === null) return { passed: false, detail: `the file "${role}" was not made` }
      if (found.mimeType !== canonicalType(mimeType)) {
        return { passed: false, detail: `the file "${role}" is ${found.mimeType}, not ${mimeType}` }
      }
      const bytes = await read(found)
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      if (bytes.byteLength !== found.bytes || sha256 !== found.sha256) {
        return { passed: false, detail: `the stored file "${role}" is not the one that was made` }
      }
    }
    return { passed: true }
  },
}
