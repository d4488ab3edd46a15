// Valid examples of what the engine is given; a test changes only what it is about.
// Hides every field that a test does not care for.
import { laneOf, type Step, type Template } from '@fabrique/schema'
import { contentHash } from '../template/compile.ts'
import type { ArtifactRecord, CallRecord, Checkpoint, NewEvent, NewRun, Transition } from '../ports.ts'
import type { Definition } from '../specification.ts'

/** A complete template of one step that asks `acme/one`, without gates and limits. */
export function aTemplate(over: Partial<Template> = {}): Template {
  return {
    id: 'test/example',
    name: 'Example',
    cadence: 'On demand',
    version: '2026.01.01',
    artifactClass: 'visual',
    schemaVersion: 'workflow-schema-v1',
    intakeSchema: { type: 'object' },
    runtimeSteps: [{ id: 'a', kind: 'ask', prompt: 'p', model: 'acme/one' }],
    providers: {},
    gates: [],
    budgetPolicy: {},
    artifactSchema: { artifactType: 'example', files: [] },
    ...over,
  }
}

/** A definition of these steps, bound to nothing and without gates. */
export function aDefinition(over: Partial<Definition> & { stepInstructions?: Step[] } = {}): Definition {
  return {
    templateId: 'test/example',
    templateVersion: '2026.01.01',
    schemaVersion: 'workflow-schema-v1',
    artifactClass: 'visual',
    providerBindings: {},
    stepInstructions: [{ id: 'only', kind: 'note' }],
    gates: [],
    artifactSchema: { artifactType: 'example', files: [] },
    fileFormats: [],
    outputAliases: {},
    budgetPolicy: {},
    onUnknownOutcome: 'retry',
    subWorkflows: {},
    pricingVersion: '2026.01.01',
    rates: [],
    ...over,
  }
}

/** A run to be accepted for the organization `system`; its hash always fits its definition. */
export function aNewRun(id: string, over: Partial<NewRun> = {}): NewRun {
  const definition = over.definition ?? aDefinition()
  const priority = over.priority ?? 50
  return {
    id,
    organizationId: 'system',
    workflow: definition.templateId,
    workflowVersion: definition.templateVersion,
    definitionHash: contentHash(definition),
    definition,
    instance: { intake: { prompt: 'a fox' }, regenerate: {}, variantIndex: null, variants: 1 },
    input: { prompt: 'a fox' },
    metadata: {},
    state: null,
    priority,
    lane: laneOf(priority),
    failFast: true,
    parentRunId: null,
    parentVariantIndex: null,
    retryOf: null,
    simulated: false,
    estimatedUsd: 0,
    warnings: [],
    inherited: null,
    slots: [],
    idempotency: null,
    ...over,
  }
}

/** A completed step's checkpoint. */
export function aCheckpoint(stepId: string, over: Partial<Checkpoint> = {}): Checkpoint {
  return {
    key: stepId,
    stepId,
    status: 'completed',
    attempt: 1,
    output: { made: stepId },
    error: null,
    simulated: false,
    startedAt: '2026-01-01T12:00:00.000Z',
    finishedAt: '2026-01-01T12:00:01.000Z',
    ...over,
  }
}

/** The intent of a call that nobody has heard of yet. */
export function aCall(id: string, over: Partial<CallRecord> = {}): CallRecord {
  return {
    id,
    stepKey: 'only',
    stepId: 'only',
    attempt: 1,
    provider: 'acme',
    operation: 'make',
    model: 'acme/maker',
    outcome: 'pending',
    status: 'estimated',
    requestId: null,
    quantity: 1,
    unit: 'request',
    unitPriceUsd: 0.25,
    estimatedUsd: 0.25,
    actualUsd: null,
    simulated: false,
    pricingVersion: '2026.01.01',
    bill: null,
    ...over,
  }
}

/** A stored file's record. */
export function anArtifact(id: string, over: Partial<ArtifactRecord> = {}): ArtifactRecord {
  const sha256 = 'ab'.repeat(32)
  return {
    id,
    stepKey: 'only',
    role: 'file',
    status: 'draft',
    mimeType: 'image/png',
    bytes: 3,
    sha256,
    width: 1,
    height: 1,
    durationMs: null,
    storageKey: `system/ab/${sha256}.png`,
    simulated: false,
    ...over,
  }
}

/** What happened to a step. */
export function anEvent(step: string, over: Partial<NewEvent> = {}): NewEvent {
  return { kind: 'workflow.node.progress', nodeKey: step, payload: { step }, ...over }
}

let transitions = 0

/** A transition that changes nothing but what is given; its number is higher than that of any before. */
export function aTransition(runId: string, fence: number, over: Partial<Transition> = {}): Transition {
  transitions += 1
  return {
    runId,
    fence,
    number: transitions,
    checkpoints: [],
    calls: [],
    artifacts: [],
    gates: [],
    events: [],
    ...over,
  }
}

/** A transition that ends its run, with the event that belongs to it. */
export function anEnd(
  runId: string,
  fence: number,
  end: NonNullable<Transition['end']>,
  over: Partial<Transition> = {},
): Transition {
  const event: NewEvent = {
    kind: end.status === 'suspended' ? 'workflow.node.progress' : `workflow.run.${end.status}`,
    payload: { status: end.status },
  }
  return aTransition(runId, fence, { ...over, events: [...(over.events ?? []), event], end })
}
