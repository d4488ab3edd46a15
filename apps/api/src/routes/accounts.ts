// Organizations and API keys, for admins.
import { SYSTEM_ORGANIZATION } from '@fabrique/db'
import { ApiKey, FabriqueError, KEY_PREFIX_LENGTH, list, NewApiKey, Organization, page, ROLES } from '@fabrique/schema'
import { z } from 'zod'
import type { AppDeps } from '../deps.ts'
import { locatedIn, parseBody, readDocument } from '../body.ts'
import { notFound } from '../found.ts'
import { pageOf, paging } from '../paging.ts'
import { admin, type Route } from '../route.ts'

const NewOrganization = z.strictObject({ name: z.string().trim().min(1).max(200) })
const NewKey = z.strictObject({
  role: z.enum(ROLES),
  organization_id: z.string().max(64).optional().describe("Default: the asking key's own."),
  name: z.string().max(200).optional(),
  expires_at: z.iso.datetime({ offset: true }).optional(),
})

export function accountRoutes({ accounts }: Pick<AppDeps, 'accounts'>): Route[] {
  return [
    admin.post('createOrganization', '/v1/organizations', {
      summary: 'Create an organization',
      body: NewOrganization,
      answers: { 201: Organization },
      async handle({ c }) {
        const { name } = parseBody(NewOrganization, await readDocument(c))
        return c.json(await accounts.createOrganization(name), 201)
      },
    }),
    admin.get('listOrganizations', '/v1/organizations', {
      summary: 'List organizations',
      answers: { 200: list(Organization) },
      handle: async ({ c }) => c.json({ data: await accounts.listOrganizations() }),
    }),
    admin.post('createApiKey', '/v1/api-keys', {
      summary: 'Create an API key; the key itself is shown once',
      body: NewKey,
      answers: { 201: NewApiKey },
      async handle({ c, principal }) {
        const document = await readDocument(c)
        const request = parseBody(NewKey, document)
        const organizationId = request.organization_id ?? principal.organizationId
        if (request.role === 'admin' && organizationId !== SYSTEM_ORGANIZATION) {
          const detail = `"admin" is the role of the whole installation, for keys of the organization "${SYSTEM_ORGANIZATION}" only; use "operator"`
          const problems = [{ pointer: '/role', detail }]
          return locatedIn(document)(new FabriqueError('validation-failed', 'The key is not valid.', { problems }))
        }
        const key = await accounts.createKey({
          role: request.role,
          organizationId,
          name: request.name ?? null,
          expiresAt: request.expires_at === undefined ? null : new Date(request.expires_at),
        })
        if (key !== null) return c.json(key, 201)
        const problems = [{ pointer: '/organization_id', detail: 'there is no such organization' }]
        return locatedIn(document)(
          new FabriqueError('validation-failed', 'There is no such organization.', { problems }),
        )
      },
    }),
    admin.get('listApiKeys', '/v1/api-keys', {
      summary: 'List the keys that were not revoked, newest first',
      query: z.strictObject({
        organization_id: z.string().max(64).optional(),
        prefix: z
          .string()
          .regex(/^fab_/)
          .max(256)
          .transform((key) => key.slice(0, KEY_PREFIX_LENGTH))
          .optional()
          .describe('How the key begins: `prefix` of a list, or at least so much of the key itself.'),
        ...paging(z.string().max(64)),
      }),
      answers: { 200: page(ApiKey) },
      handle: async ({ c, query: { limit, cursor = null, ...filter } }) =>
        c.json(pageOf(await accounts.listKeys(filter, limit + 1, cursor), limit)),
    }),
    admin.delete('revokeApiKey', '/v1/api-keys/:id', {
      summary: 'Revoke a key; it stops working within seconds',
      answers: { 204: null },
      async handle({ c, param }) {
        if (!(await accounts.revokeKey(param('id')))) throw notFound('API key')
        return c.body(null, 204)
      },
    }),
  ]
}
