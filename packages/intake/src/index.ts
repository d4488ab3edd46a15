// JSON Schemas 2020-12 of template authors, and values of callers against them, without a way to hang or crash the
// process. Hides Ajv, the thread that compiles first, and where each validation runs: here when its effort is bounded,
// there when not.

import { compileLinearPattern, isJsonObject, type JsonValue, type LinearPattern, sidesOf } from '@fabrique/schema'
import { LRUCache } from 'lru-cache'
import { SCHEMA_LIMITS, type SchemaProblem, type SchemaShape, shapeSchema } from './schema-shape.ts'
import type { ValueProblem } from './sentences.ts'
import { createThread, type Outcome } from './thread.ts'
import type { Validator } from './validator.ts'
import { copyValue, type ValueCopy } from './value-copy.ts'

export type { SchemaProblem } from './schema-shape.ts'
export type { ValueProblem } from './sentences.ts'

export interface Validation {
  /** Why the value was not judged by the schema itself; `problems` has the sentence. Absent where it was. */
  failure?: 'unusable-schema' | 'too-slow'
  /** Sorted by place, 100 at the most; empty when the value is valid. */
  problems: ValueProblem[]
  /** A copy of the value with the schema's defaults filled in; undefined where the value could not be looked at. */
  value: unknown
  /**
   * Top-level keys that no `properties` or `patternProperties` of the schema names; allowed, to be shown as warnings.
   */
  undeclared: string[]
}

export interface IntakeSchemas {
  /**
   * All problems of a schema; none means that it may be published. A few milliseconds here, the rest in the thread,
   * within the time limit. Never rejects for anything in the schema.
   */
  check(schema: unknown): Promise<SchemaProblem[]>
  /**
   * Validates a copy of the value and fills in defaults. `schemaHash` names the content of the schema: the same hash
   * means the same schema, checked and compiled once. A schema with problems is told as one problem of the value, at
   * its top. With `showsValues: false` no sentence has anything of the value but names of its keys.
   */
  validate(
    schemaHash: string,
    schema: unknown,
    value: unknown,
    options?: { showsValues?: boolean },
  ): Promise<Validation>
  /** Ends the thread; calls still open reject, if they need it. Idempotent. */
  close(): Promise<void>
}

/** A schema that passed. Without `validator` it is too large to compile here and validates in the thread. */
interface Accepted {
  shape: SchemaShape
  isDeclared(key: string): boolean
  validator: Validator | undefined
}

/** A schema that did not pass; `transient` where another time it may. */
interface Refused {
  problems: SchemaProblem[]
  transient: boolean
}

// Measured: compiling at this size takes 10 to 40 ms by the kind of schema, 60 where it is all patterns of \p{…}. Larger
// ones stay in the thread.
const MAX_SIZE_HERE = { nodes: 2_000, subschemas: 250, patternStates: 2_500 }
// What one validation may take on the event loop, estimated. Measured worst cases within it: 5 to 60 ms, and 115 ms
// where ten thousand misspelt fields are to be explained. What goes beyond goes to the thread.
const MAX_EFFORT_HERE_NS = 20_000_000
const CHECK_NS = 300
// Measured: 8 to 16 on long hostile texts, up to 70 on the first twenty characters of one.
const STEP_NS = 25

/**
 * @param options.timeoutMs limit for compiling one schema or one costly validation in the thread; 1000: an ordinary
 *   schema needs 10 ms, the largest that is let in 150 to 750 ms
 * @param options.cacheEntries schemas kept compiled, least recently used go first; 200, about 50 KB of heap each
 */
export function createIntakeSchemas(options: { timeoutMs?: number; cacheEntries?: number } = {}): IntakeSchemas {
  const timeoutMs = options.timeoutMs ?? 1_000
  const thread = createThread({ timeoutMs })
  /** Promises, so that concurrent first calls compile once. */
  const cache = new LRUCache<string, Promise<Accepted | Refused>>({ max: options.cacheEntries ?? 200 })

  const failureText = (outcome: Outcome, what: string): string =>
    'failure' in outcome && outcome.failure === 'too-slow'
      ? `${what} took longer than ${timeoutMs} ms and was stopped; simplify the schema`
      : `${what} needed too much memory and was stopped; simplify the schema`

  const inspect = async (schema: unknown): Promise<Refused & { shape: SchemaShape | undefined }> => {
    const { problems, inBounds, shape } = shapeSchema(schema)
    if (!inBounds) return { problems, shape, transient: false }
    const outcome = await thread.run({ kind: 'check', schema: schema as object, clean: shape?.clean })
    if ('answer' in outcome) {
      const all = [...problems, ...outcome.answer.problems].slice(0, SCHEMA_LIMITS.problems)
      return { problems: all, shape, transient: false }
    }
    const detail = failureText(outcome, 'compiling the schema')
    return { problems: [{ pointer: '', detail }], shape: undefined, transient: true }
  }

  const accept = async (hash: string, schema: unknown): Promise<Accepted | Refused> => {
    const { problems, shape, transient } = await inspect(schema)
    if (transient) cache.delete(hash)
    if (shape === undefined || problems.length > 0) return { problems, transient }
    const { compileValidator } = await import('./validator.ts')
    return {
      shape,
      isDeclared: declaredBy(shape),
      validator: fitsHere(shape) ? compileValidator(shape.clean) : undefined,
    }
  }

  const acceptedOf = (hash: string, schema: unknown): Promise<Accepted | Refused> => {
    const cached = cache.get(hash)
    if (cached !== undefined) return cached
    const fresh = accept(hash, schema)
    cache.set(hash, fresh)
    fresh.catch(() => cache.delete(hash))
    return fresh
  }

  return {
    async check(schema) {
      return (await inspect(schema)).problems
    },

    async validate(schemaHash, schema, value, { showsValues = true } = {}) {
      const accepted = await acceptedOf(schemaHash, schema)
      if ('problems' in accepted) {
        const failure = accepted.transient ? 'too-slow' : 'unusable-schema'
        return { failure, problems: [unusable(accepted.problems)], value: undefined, undeclared: [] }
      }
      const copy = copyValue(value)
      if (copy.problems.length > 0) return { problems: copy.problems, value: undefined, undeclared: [] }
      const undeclared = isJsonObject(copy.value)
        ? Object.keys(copy.value).filter((key) => !accepted.isDeclared(key))
        : []
      if (accepted.validator !== undefined && effortNs(accepted.shape, copy) <= MAX_EFFORT_HERE_NS) {
        return { problems: accepted.validator(copy.value, showsValues), value: copy.value, undeclared }
      }
      const { clean } = accepted.shape
      const outcome = await thread.run({ kind: 'validate', hash: schemaHash, clean, value: copy.value, showsValues })
      if ('answer' in outcome) return { problems: outcome.answer.problems, value: outcome.answer.value, undeclared }
      return {
        failure: 'too-slow',
        problems: [{ pointer: '', detail: failureText(outcome, 'validating this value') }],
        value: copy.value,
        undeclared,
      }
    },

    close: () => thread.close(),
  }
}

function fitsHere(shape: SchemaShape): boolean {
  const { nodes, subschemas, patternStates } = MAX_SIZE_HERE
  return shape.nodes <= nodes && shape.subschemas <= subschemas && shape.patternStates <= patternStates
}

/** The most that validating this value with this schema can take, whatever the two hold. */
function effortNs(shape: SchemaShape, value: ValueCopy): number {
  const { once, perNode, stepsOnce, stepsPerCharacter } = shape.effort
  const checks = once + perNode * value.nodes
  const steps = stepsOnce * value.longest + stepsPerCharacter * (value.characters + 8 * value.nodes)
  return checks * CHECK_NS + steps * STEP_NS
}

/** Whether a top-level key is named by the schema, also inside its alternatives and conditions. */
function declaredBy(shape: SchemaShape): (key: string) => boolean {
  const names = new Set<string>()
  const patterns: LinearPattern[] = []
  // References are written out in a clean schema.
  for (const side of sidesOf(shape.clean as JsonValue, { target: () => undefined })) {
    for (const name of Object.keys(side.properties ?? {})) names.add(name)
    for (const source of Object.keys(side.patternProperties ?? {})) patterns.push(compileLinearPattern(source))
  }
  return (key) => names.has(key) || patterns.some((pattern) => pattern.test(key))
}

function unusable(problems: SchemaProblem[]): ValueProblem {
  const [first] = problems
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : ''
  return {
    pointer: '',
    detail: `the schema that this value is checked with is not usable: ${first?.detail ?? ''}${more}`,
  }
}
