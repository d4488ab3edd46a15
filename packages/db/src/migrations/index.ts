// The migrations, oldest first: one file and one line each.
import type { Migration } from 'kysely/migration'
import * as foundation from './0001-foundation.ts'

export const migrations: Record<string, Migration> = {
  '0001-foundation': foundation,
}
