/**
 * Small files of a home folder: texts that may be missing, and random secrets that only their owner can read.
 * Hides the file mode of a secret and that a crash must not leave half of one behind.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'

/** The text of a file behind `offset` bytes; empty when it is missing or cannot be read. */
export function textIn(file: string, offset = 0): string {
  try {
    return readFileSync(file).toString('utf8', offset)
  } catch {
    return ''
  }
}

/** The secret kept in `file`, made on first use: `bytes` random bytes, in hexadecimal so that it needs no quoting. */
export function secretIn(file: string, bytes = 24): string {
  try {
    const kept = readFileSync(file, 'utf8').trim()
    if (kept) return kept
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
  }
  const secret = randomBytes(bytes).toString('hex')
  writeFileSync(`${file}.new`, `${secret}\n`, { mode: 0o600 })
  renameSync(`${file}.new`, file)
  return secret
}
