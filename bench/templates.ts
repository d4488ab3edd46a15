// The workflows that the cases run: one step that does nothing, three of them in a row, and one that waits for a provider.
// Hides the template language; all are seeded into the bench's own record only.
import type { JsonObject } from '@fabrique/schema'

export const FAST = 'bench-no-op'
export const THREE_STEPS = 'bench-three-steps'
export const SLOW = 'bench-slow'

const pass = (id: string, value: string) => ({ id, kind: 'tool', tool: 'value.pass', args: { value } })

const STEPS: Record<string, JsonObject[]> = {
  [FAST]: [pass('pass', '{intake.n}')],
  [THREE_STEPS]: [
    pass('first', '{intake.n}'),
    pass('second', '{steps.first.output.value}'),
    pass('third', '{steps.second.output.value}'),
  ],
  [SLOW]: [{ id: 'wait', kind: 'llm', model: 'openai/gpt-6-luna', promptTemplate: 'wait {intake.n}' }],
}

/** What the drain cases submit, by case: the document of the n-th run, and of how many runs each one consists. */
export const LOADS = {
  drain: { size: 1, document: (n: number): JsonObject => ({ workflow: FAST, input: { n } }) },
  steps: { size: 1, document: (n: number): JsonObject => ({ workflow: THREE_STEPS, input: { n } }) },
  bundles: {
    size: 6,
    document: (n: number): JsonObject => ({
      workflow: 'bundle/ad-hoc',
      bundle: Array.from({ length: 5 }, () => ({ workflow: FAST, input: { n } })),
    }),
  },
}

export type Load = keyof typeof LOADS

/** A complete template with the steps of this workflow and no gates. */
export function templateDocument(id: string): JsonObject {
  return {
    id,
    name: id,
    cadence: 'On demand',
    version: '2026.11.21',
    artifactClass: 'knowledge',
    schemaVersion: 'workflow-schema-v1',
    intakeSchema: { type: 'object', properties: { n: { type: 'integer' } } },
    runtimeSteps: STEPS[id] ?? [],
    providers: {},
    gates: [],
    budgetPolicy: 'No limits: a benchmark',
    artifactSchema: { artifactType: 'none', files: [] },
  }
}
