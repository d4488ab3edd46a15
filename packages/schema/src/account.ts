// Organizations, API keys and access tokens as the API shows them.
import { z } from 'zod'
import { Instant } from './json.ts'
import { RunId } from './run-spec.ts'

export const ROLES = ['admin', 'operator'] as const
export type Role = (typeof ROLES)[number]

export const Organization = z
  .object({ id: z.string(), name: z.string(), created_at: Instant })
  .meta({ id: 'Organization' })
export type Organization = z.infer<typeof Organization>

/** Characters of a key that are kept in the open. */
export const KEY_PREFIX_LENGTH = 10

export const ApiKey = z
  .object({
    id: z.string(),
    organization_id: z.string(),
    role: z.enum(ROLES),
    name: z.string().nullable(),
    prefix: z.string().describe('The first characters of the key, to know it by.'),
    expires_at: Instant.nullable(),
    created_at: Instant,
  })
  .meta({ id: 'ApiKey' })
export type ApiKey = z.infer<typeof ApiKey>

export const NewApiKey = ApiKey.extend({ key: z.string().describe('The key itself; shown only now.') }).meta({
  id: 'NewApiKey',
})
export type NewApiKey = z.infer<typeof NewApiKey>

/** The longest that a token lives, in seconds: it may stand in addresses, which are kept in many places. */
const TTL_MAX_S = 86_400

export const AccessTokenRequest = z
  .strictObject({
    scope: z
      .enum(['run', 'read'])
      .default('run')
      .describe('`run`: reads one run, its slots, events and artifacts. `read`: whatever an operator can read.'),
    run_id: RunId.optional().describe('With the scope `run` only.'),
    ttl: z.int().min(1).max(TTL_MAX_S).default(900).describe('How many seconds it lives.'),
  })
  .refine(({ scope, run_id: run }) => (run !== undefined) === (scope === 'run'), {
    path: ['run_id'],
    message: 'is needed with the scope "run", and only with it',
  })

export const NewAccessToken = z
  .object({
    id: z.string(),
    token: z.string().describe('The token itself; shown only now.'),
    scope: AccessTokenRequest.shape.scope,
    run_id: z.string().nullable(),
    expires_at: Instant,
  })
  .meta({ id: 'NewAccessToken' })
export type NewAccessToken = z.infer<typeof NewAccessToken>
