// The two workflows that the cases run: one step that does nothing, and one that waits for a provider.
// Hides the template language; both are seeded into the bench's own record only.
import type { JsonObject } from '@fabrique/schema'

export const FAST = 'bench-no-op'
export const SLOW = 'bench-slow'

const STEPS: Record<string, JsonObject> = {
  [FAST]: { id: 'pass', kind: 'tool', tool: 'value.pass', args: { value: '{intake.n}' } },
  [SLOW]: { id: 'wait', kind: 'llm', model: 'openai/gpt-6-luna', promptTemplate: 'wait {intake.n}' },
}

/** A complete template with this one step and no gates. */
export function templateDocument(id: string): JsonObject {
  return {
    id,
    name: id,
    cadence: 'On demand',
    version: '2026.11.21',
    artifactClass: 'knowledge',
    schemaVersion: 'workflow-schema-v1',
    intakeSchema: { type: 'object', properties: { n: { type: 'integer' } } },
    runtimeSteps: [STEPS[id] ?? {}],
    providers: {},
    gates: [],
    budgetPolicy: 'No limits: a benchmark',
    artifactSchema: { artifactType: 'none', files: [] },
  }
}
