// The prompt back-test: what real intakes would have become under a draft definition. Calls nobody, costs nothing.
// Hides how a past run's prompts are made again; the same rendering serves the engine.
import {
  type BacktestReport,
  isJsonObject,
  objectOf,
  type JsonObject,
  type JsonValue,
  Lookup,
  type Step,
} from '@fabrique/schema'
import type { Catalog } from '../catalog.ts'
import { renderText, resolveLookup, runScope } from './placeholders.ts'
import type { Definition, Instance } from '../specification.ts'

/** A past run, with what its prompts were made from. */
export interface BacktestRun {
  id: string
  workflow: string
  organizationId: string
  instance: Instance
  definition: Definition
  /** Outputs of its finished steps, which later prompts may read. */
  outputs: Record<string, { output: JsonValue }>
}

/** Texts in a report are cut here: 500 runs of long prompts must still be an answer that one can read. */
const TEXT_SHOWN_MAX = 4_000

interface Rendered {
  texts: Map<string, string>
  defaults: string[]
  missing: string[]
}

/** Renders every text field of the steps for one run's intake. Steps and fields that are not whole are passed over. */
function renderAll(steps: readonly Step[], run: BacktestRun, catalog: Catalog): Rendered {
  const texts = new Map<string, string>()
  const defaults: string[] = []
  const missing: string[] = []
  for (const step of steps) {
    const lookups = objectOf(step.lookups) as Record<string, Lookup>
    const scope = runScope(run, run.outputs, lookups)
    for (const [name, lookup] of Object.entries(lookups)) {
      if (resolveLookup(lookup, run.instance.intake).fellBack) defaults.push(`${step.id}.${name}`)
    }
    for (const { field, as } of catalog.kind(step.kind)?.renders ?? []) {
      const template = step[field]
      if (as !== 'text' || typeof template !== 'string') continue
      const rendered = renderText(template, scope)
      texts.set(JSON.stringify([step.id, field]), rendered.text)
      missing.push(...rendered.missing)
    }
  }
  return { texts, defaults, missing: [...new Set(missing)] }
}

/** Compares what each run's prompts were with what the draft's steps would make of the same intake. */
export function backtest(
  steps: readonly Step[],
  runs: readonly BacktestRun[],
  catalog: Catalog,
): Omit<BacktestReport, 'workflow'> {
  const reports = runs.map((run) => {
    const before = renderAll(run.definition.stepInstructions, run, catalog)
    const after = renderAll(steps, run, catalog)
    const differences = [...new Set([...before.texts.keys(), ...after.texts.keys()])].flatMap((key) => {
      const [was, is] = [before.texts.get(key), after.texts.get(key)]
      if (was === is) return []
      const [step, field] = JSON.parse(key) as [string, string]
      return [{ step, field, before: cut(was), after: cut(is) }]
    })
    return {
      run_id: run.id,
      changed: differences.length > 0,
      differences,
      defaults: after.defaults,
      missing: after.missing,
    }
  })
  return {
    compared: reports.length,
    changed: reports.filter(({ changed }) => changed).length,
    fell_to_default: reports.filter(({ defaults }) => defaults.length > 0).length,
    unresolved: reports.filter(({ missing }) => missing.length > 0).length,
    runs: reports,
  }
}

function cut(text: string | undefined): string | null {
  if (text === undefined) return null
  return text.length <= TEXT_SHOWN_MAX ? text : `${text.slice(0, TEXT_SHOWN_MAX)}…`
}

/** The steps of a draft document as far as they can be rendered: a step or lookup that is not whole is left out. */
export function draftSteps(document: JsonObject): Step[] {
  if (!Array.isArray(document.runtimeSteps)) return []
  return document.runtimeSteps.flatMap((step) => {
    if (!isJsonObject(step) || typeof step.id !== 'string' || typeof step.kind !== 'string') return []
    const lookups = Object.entries(objectOf(step.lookups)).filter(([, lookup]) => Lookup.safeParse(lookup).success)
    return [{ ...step, lookups: Object.fromEntries(lookups) } as unknown as Step]
  })
}
