#!/usr/bin/env node
// One more admin key, for whoever has lost or revoked the last one and may use the record itself.
import { resolve } from 'node:path'
import { createAccountStore, createDb, migrate } from '@fabrique/db'
import { CommonEnv, createLog, parseEnv, systemIds } from '@fabrique/runtime'
import { createAdminKey } from './admin-key.ts'

const log = createLog('admin-key', process.env.LOG_LEVEL)
const env = parseEnv(CommonEnv, process.env)
const db = createDb({ databaseUrl: env.DATABASE_URL, log })
try {
  await migrate(env.DATABASE_URL)
  await createAdminKey(createAccountStore(db, systemIds()), resolve(env.FABRIQUE_HOME), 'npm run admin-key')
} finally {
  await db.close()
}
