// Keys of admins that are made on the machine and not over HTTP: the first one, and those of `npm run admin-key`.
import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type AccountStore, SYSTEM_ORGANIZATION } from '@fabrique/db'

/** What is common to them. */
export const ADMIN = { role: 'admin', organizationId: SYSTEM_ORGANIZATION, expiresAt: null } as const

/** Makes a key, prints it once and keeps it in `<home>/admin-key`, in the place of an earlier one; that still works. */
export async function createAdminKey(accounts: AccountStore, home: string, name: string): Promise<void> {
  const key = await accounts.createKey({ ...ADMIN, name })
  if (key === null) throw new Error(`there is no organization "${SYSTEM_ORGANIZATION}"`)
  mkdirSync(home, { recursive: true, mode: 0o700 })
  const file = join(home, 'admin-key')
  writeFileSync(`${file}.new`, `${key.key}\n`, { mode: 0o600 })
  renameSync(`${file}.new`, file)
  process.stdout.write(`The admin key is ${key.key} (kept in ${file}; it is not shown again)\n`)
}
