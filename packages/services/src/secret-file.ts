/**
 * Random secrets that are made once and kept in a file that only its owner can read.
 * Hides the file mode and that a crash must not leave half a secret behind.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'

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
