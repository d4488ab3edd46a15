// A session of the operator app as its page sees it.
import { z } from 'zod'
import { ROLES } from './account.ts'
import { Instant } from './json.ts'

export const WebSession = z
  .object({
    role: z.enum(ROLES),
    organization: z.object({ id: z.string(), name: z.string() }),
    key: z.object({ id: z.string(), name: z.string().nullable(), prefix: z.string() }).describe('Ends with it.'),
    idle_at: Instant.describe('When it ends, unless somebody uses the page before.'),
    expires_at: Instant.describe('When it ends in any case.'),
  })
  .meta({ id: 'Session' })
export type WebSession = z.infer<typeof WebSession>

/** Who begins a session: by a key, or by the secret of a one-time link. */
export const SignIn = z.union([
  z.strictObject({ key: z.string().max(256) }),
  z.strictObject({ link: z.string().max(256) }),
])

export const SignInLink = z
  .object({ url: z.string().describe('Opens the app signed in, once.'), expires_in_s: z.int() })
  .meta({ id: 'SignInLink' })
