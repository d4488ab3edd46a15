// Organizations and API keys as the API shows them.
import { z } from 'zod'
import { Instant } from './json.ts'

export const ROLES = ['admin', 'operator'] as const
export type Role = (typeof ROLES)[number]

export const Organization = z
  .object({ id: z.string(), name: z.string(), created_at: Instant })
  .meta({ id: 'Organization' })
export type Organization = z.infer<typeof Organization>

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
