/**
 * Writes a text chunk into a PNG, so that a simulated picture says so itself without a word drawn in it.
 */
import { crc32 } from 'node:zlib'

/** What simulated files name as their maker. */
export const MAKER = 'Fabrique simulated provider'

/** The end of a PNG's header chunk: signature 8, length 4, type 4, data 13, checksum 4. */
const AFTER_HEADER = 33

/** Returns the PNG with a `Software` text chunk after its header. The pixels are untouched. */
export function markPng(png: Buffer, software = MAKER): Buffer {
  const data = Buffer.from(`tEXtSoftware\0${software}`, 'latin1')
  const chunk = Buffer.alloc(data.length + 8)
  chunk.writeUInt32BE(data.length - 4, 0)
  data.copy(chunk, 4)
  chunk.writeUInt32BE(crc32(data), data.length + 4)
  return Buffer.concat([png.subarray(0, AFTER_HEADER), chunk, png.subarray(AFTER_HEADER)])
}
