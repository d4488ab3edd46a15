// A template that makes notes of topics, for tests and the soak of what runs do; each says its own steps.
// Hides what every template has to say.

/** A complete internal template of this id, but for its steps. Its intake is a list of `topics`. */
export function noteTemplate(id: string, over: Record<string, unknown>): Record<string, unknown> {
  return {
    id,
    name: id,
    artifactClass: 'knowledge',
    version: '2026.11.21',
    schemaVersion: 'workflow-schema-v1',
    cadence: 'On demand',
    visibility: 'internal',
    providers: {},
    intakeSchema: {
      type: 'object',
      required: ['topics'],
      properties: { topics: { type: 'array', items: { type: 'string' }, minItems: 1 } },
    },
    gates: ['prompt resolution', 'provider execution'],
    budgetPolicy: {},
    artifactSchema: { artifactType: 'note', files: [] },
    ...over,
  }
}
