// Workflow templates: the library that operators pick from, and the public catalog.
import type { StoredTemplate } from '@fabrique/db'
import { isJsonObject, type JsonObject, type JsonValue } from '@fabrique/schema'
import type { AppDeps } from '../app.ts'
import { notFound } from '../errors.ts'
import { defineRoute, type Route } from '../route.ts'

/** A template in its own spelling. Operators see of a step what it is, never what it says. */
export function templateResource(template: StoredTemplate, admin: boolean): JsonObject {
  const { document } = template
  const steps = document.runtimeSteps
  const shown = admin || !Array.isArray(steps) ? {} : { runtimeSteps: steps.map(outline) }
  return { ...document, ...shown, visibility: template.visibility, owner: template.owner }
}

function outline(step: JsonValue): JsonValue {
  if (!isJsonObject(step)) return {}
  return Object.fromEntries(
    ['id', 'kind', 'name'].flatMap((key) => (step[key] === undefined ? [] : [[key, step[key]]])),
  )
}

export function workflowRoutes({ templates }: Pick<AppDeps, 'templates'>): Route[] {
  const tag = 'workflows'
  return [
    defineRoute({
      method: 'get',
      path: '/v1/workflows',
      access: 'operator',
      docs: { summary: 'List workflows', tag, answers: { 200: 'Listed ones; for admins drafts too.' } },
      async handle({ c, principal }) {
        const admin = principal.role === 'admin'
        return c.json({ data: (await templates.list({ drafts: admin })).map((one) => templateResource(one, admin)) })
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/catalog',
      access: 'public',
      docs: { summary: 'The public catalog', tag, answers: { 200: 'Public workflows.' } },
      async handle({ c }) {
        const listed = await templates.list({ drafts: false })
        return c.json({
          data: listed.filter(({ visibility }) => visibility === 'public').map((one) => templateResource(one, false)),
        })
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/workflows/:id{.+}',
      access: 'operator',
      docs: { summary: 'A workflow', tag, answers: { 200: 'The workflow.' } },
      async handle({ c, principal, param }) {
        const admin = principal.role === 'admin'
        const found = await templates.get(param('id'))
        if (found === null || (found.visibility === 'draft' && !admin)) throw notFound('workflow')
        return c.json(templateResource(found, admin), 200, { etag: `"${found.revision}"` })
      },
    }),
  ]
}
