/**
 * Folders and small files of a home, which only its owner can read: texts that may be missing, and random secrets.
 * Hides the file mode of a secret and that a crash must not leave half of one behind.
 */
import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'

/**
 * Makes the folder where it is missing, and closes it to other users also where an earlier version left it open. One
 * that is passed through cannot be listed by others, but entered where we are root: PostgreSQL then runs as another user.
 */
export function makePrivate(folder: string, { isPassedThrough = false } = {}): void {
  const mode = isPassedThrough && process.getuid?.() === 0 ? 0o711 : 0o700
  mkdirSync(folder, { recursive: true, mode })
  chmodSync(folder, mode)
}

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
