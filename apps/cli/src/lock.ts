// What a run-spec runs, pinned in a file beside it: template version, definition, models, prompts, prices, input schema.
// Hides how the pins are taken and compared; a prompt is pinned by its hash and never written down.
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { basename } from 'node:path'
import {
  canonicalJson,
  definitionOf,
  isJsonObject,
  objectOf,
  type JsonObject,
  type JsonValue,
  textOf,
} from '@fabrique/schema'
import { stringify } from 'yaml'
import type { Backend } from './backend.ts'
import type { Context } from './context.ts'
import { InvalidRequest } from './failure.ts'
import { findWorkflow } from './find-workflow.ts'
import type { RunOptions } from './run.ts'
import { readSourceFile } from './spec.ts'

const NOTE = '# Pinned by fab-workflow --lock; delete this file to pin what is current then.'
const YAML = { defaultStringType: 'QUOTE_DOUBLE', defaultKeyType: 'PLAIN', lineWidth: 0 } as const

/**
 * The version to run, undefined where it is a draft's, which has none that could be pinned.
 * With `frozen` it throws `InvalidRequest` with everything that has changed since the lock was written; with `lock` it
 * writes the lock where there is none. Errors of the spec itself are thrown as the backend throws them.
 */
export async function settleLock(
  context: Context,
  backend: Backend,
  spec: JsonObject,
  options: RunOptions,
): Promise<string | undefined> {
  const path = `${options.fromFile}.lock`
  if (!existsSync(path)) {
    if (options.lock !== true) {
      const command = context.hint(`--from-file ${options.fromFile} --lock`)
      throw new InvalidRequest(`${path}: there is no lock; make one with: ${command}`)
    }
    const pins = await takePins(backend, spec)
    await writeFile(path, `${NOTE}\n${stringify(pins, YAML)}`)
    context.say(`Wrote ${path}`)
    return await runnableVersion(backend, pins)
  }
  const { value: pins, placeOf } = await readSourceFile(path, 'yaml')
  if (typeof pins.workflow !== 'string' || typeof pins.version !== 'string') {
    throw new InvalidRequest(`${placeOf('')}: this is no lock of fab-workflow; delete it and use --lock again`)
  }
  if (pins.workflow !== spec.workflow) {
    throw new InvalidRequest(
      `${placeOf('/workflow')}: the lock is for ${pins.workflow}, but the run-spec names ${textOf(spec.workflow)}; delete it and use --lock again`,
    )
  }
  if (options.frozen === true) {
    const changes = changesBetween(pins, await takePins(backend, spec))
    if (changes.length > 0) {
      const lines = changes.map(({ pointer, text }) => `${placeOf(pointer)}: ${text}`)
      const what = `${basename(options.fromFile)} would not run what it was locked to:`
      throw new InvalidRequest([what, ...lines].join('\n'))
    }
  }
  const version = await runnableVersion(backend, pins)
  if (version !== undefined) context.say(`Locked to ${pins.workflow} ${version}`)
  return version
}

async function takePins(backend: Backend, spec: JsonObject): Promise<JsonObject> {
  if (spec.bundle !== undefined) {
    throw new InvalidRequest('--lock and --frozen pin one workflow; lock the entries of a bundle one by one.')
  }
  const plan = await backend.dryRun(spec)
  const document = await findWorkflow(backend, plan.workflow)
  const listed = await backend.definitionHash(plan.workflow, plan.workflow_version)
  const steps = Array.isArray(document.runtimeSteps) ? document.runtimeSteps.filter(isJsonObject) : []
  const providers = objectOf(document.providers)
  const models = steps.flatMap((step) => {
    const named = step.model ?? step.tool ?? (typeof step.provider === 'string' ? providers[step.provider] : undefined)
    return named === undefined ? [] : [[textOf(step.id), named] as const]
  })
  const prompts = steps.flatMap((step) => {
    const { promptTemplate, system, lookups } = step
    if (promptTemplate === undefined && system === undefined) return []
    return [[textOf(step.id), hashOf({ promptTemplate, system, lookups })] as const]
  })
  return {
    workflow: plan.workflow,
    version: plan.workflow_version,
    definition_sha256: listed ?? hashOf(definitionOf(document)),
    input_schema_sha256: hashOf(document.intakeSchema ?? {}),
    pricing_version: plan.estimate.pricing_version,
    // An operator is told neither; the definition's hash covers both.
    models: models.length > 0 ? Object.fromEntries(models) : providers,
    prompts_sha256: Object.fromEntries(prompts),
  }
}

/** A draft's version was never listed, so there is nothing to ask for by it. */
async function runnableVersion(backend: Backend, pins: JsonObject): Promise<string | undefined> {
  const version = textOf(pins.version)
  return (await backend.definitionHash(textOf(pins.workflow), version)) === null ? undefined : version
}

/** Every pin that differs, with its place in the lock. */
export function changesBetween(before: JsonObject, after: JsonObject): { pointer: string; text: string }[] {
  const [was, is] = [flatten(before), flatten(after)]
  return [...new Set([...was.keys(), ...is.keys()])].flatMap((pointer) => {
    const [old, now] = [was.get(pointer), is.get(pointer)]
    if (old === now) return []
    const name = pointer.slice(1).replaceAll('/', '.')
    if (old === undefined) return [{ pointer, text: `${name} is new: ${now}` }]
    if (now === undefined) return [{ pointer, text: `${name} is gone: it was ${old}` }]
    return [{ pointer, text: `${name} was ${old}, is ${now}` }]
  })
}

function flatten(pins: JsonObject): Map<string, string> {
  const flat = Object.entries(pins).flatMap(([key, value]): [string, string][] =>
    isJsonObject(value)
      ? Object.entries(value).map(([name, member]) => [`/${key}/${name}`, wordOf(member)])
      : [[`/${key}`, wordOf(value)]],
  )
  return new Map(flat)
}

function wordOf(value: JsonValue): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function hashOf(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex')
}
