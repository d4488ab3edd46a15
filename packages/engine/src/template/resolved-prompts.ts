// What the models of a run were really asked, made again from its record; shown to admins only.
import type { JsonObject, JsonValue, Specification, Step } from '@fabrique/schema'
import type { Catalog } from '../catalog.ts'
import { renderText, renderValue, runScope, type Scope } from './placeholders.ts'
import { forEachOf } from './data-flow.ts'
import type { Definition, Instance } from '../specification.ts'
import { itemKey } from '../unit-key.ts'

/** A text of a step as it was resolved; of a step with forEach one for each item, by its key. */
type ResolvedPrompt = NonNullable<Specification['resolvedPrompts']>[number]

/** The texts of every step whose placeholders have their values by now, in the order of the steps. */
export function resolvedPrompts(
  run: { id: string; workflow: string; organizationId: string; instance: Instance },
  definition: Definition,
  outputs: Scope['steps'],
  catalog: Catalog,
): ResolvedPrompt[] {
  return definition.stepInstructions.flatMap((step) => {
    const scope = runScope(run, outputs, step.lookups ?? {})
    const fields = (catalog.kind(step.kind)?.renders ?? []).filter(({ as }) => as === 'text').map(({ field }) => field)
    return unitsOf(step, scope).flatMap(({ key, scope: own }) =>
      fields.flatMap((field): ResolvedPrompt[] => {
        const template = (step as JsonObject)[field]
        if (typeof template !== 'string') return []
        const { text, missing } = renderText(template, own)
        return missing.length > 0 ? [] : [{ stepId: step.id, key, field, text }]
      }),
    )
  })
}

function unitsOf(step: Step, scope: Scope): { key: string; scope: Scope }[] {
  const each = forEachOf(step)
  if (each === null) return [{ key: step.id, scope }]
  const { value: list } = renderValue(each.items, scope)
  if (!Array.isArray(list)) return []
  return list.map((item: JsonValue, index) => ({ key: itemKey(step.id, index), scope: { ...scope, item, index } }))
}
