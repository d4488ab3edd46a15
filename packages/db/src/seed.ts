// Bootstrap seeding: creates rows that are missing and never changes one that exists.
// Hides nothing; the documents come from the caller, checked like any author's.
import { contentHash } from '@fabrique/engine'
import { definitionOf, type JsonObject, normalizeTemplate, type RateTable, textOf } from '@fabrique/schema'
import { SYSTEM_ORGANIZATION } from './account-store.ts'
import type { PricingStore } from './pricing-store.ts'
import type { TemplateStore } from './template-store.ts'

/** Seeds what is missing; answers the ids of the templates that were created. Safe to run at every start. */
export async function seed(
  stores: { templates: TemplateStore; pricing: PricingStore },
  documents: { templates: JsonObject[]; pricing: RateTable },
): Promise<string[]> {
  if ((await stores.pricing.current().catch(() => null)) === null) await stores.pricing.add(documents.pricing)
  const created: string[] = []
  for (const source of documents.templates) {
    const { visibility: _, owner: __, ...document } = normalizeTemplate(source)
    const id = textOf(document.id)
    const row = await stores.templates.create(SYSTEM_ORGANIZATION, {
      id,
      document,
      visibility: 'public',
      freeze: { version: textOf(document.version), definitionHash: contentHash(definitionOf(document)) },
    })
    if (row !== null) created.push(id)
  }
  return created
}
