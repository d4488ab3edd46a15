// What the stages of a set gave, kept in a folder of their own so that a later run of the set can go on from there.
// Hides the layout: `<folder>/<stage>/outputs.json` beside the stage's files.
import { mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isJsonObject, type RunResource } from '@fabrique/schema'
import type { Backend } from './backend.ts'
import { InvalidRequest } from './failure.ts'
import { pullFiles, writeWhole } from './pull-files.ts'

const FILE = 'outputs.json'

/** Where a stage's result is kept. */
export function resultPath(folder: string, stage: string): string {
  return join(folder, stage, FILE)
}

/** What a stage gave, from its run: its outputs, one per variant; paths of files, or addresses where they were not kept. */
export function resultOf(stage: string, run: RunResource, files: string[]) {
  const { id: run_id, workflow, workflow_version, status, partial, simulated, error } = run
  const outputs = run.outputs.map((slot) => ({
    variant_index: slot.variant_index ?? slot.index,
    status: slot.status,
    output: slot.output,
  }))
  const cost_usd = run.cost.actual
  return { stage, run_id, workflow, workflow_version, status, partial, simulated, cost_usd, error, outputs, files }
}

export type StageResult = ReturnType<typeof resultOf>

/** Throws `InvalidRequest` where a stage's folder holds something that no run of a set has put there. */
export async function claimFolders(folder: string, stages: readonly string[]): Promise<void> {
  for (const own of stages.map((stage) => join(folder, stage))) {
    const entries = await readdir(own).catch((error: NodeJS.ErrnoException): string[] => {
      if (error.code === 'ENOENT') return []
      throw new InvalidRequest(`${own}: this cannot be used as a folder (${error.code ?? error.message})`)
    })
    if (entries.length > 0 && !entries.includes(FILE)) {
      throw new InvalidRequest(`${own}: there are files in it that are not of a workflow set; choose another -o`)
    }
  }
}

/** A stage's result from its run, kept with the files in the folder where one is named; replaces what is there. */
export async function keepResult(
  backend: Backend,
  folder: string | undefined,
  stage: string,
  run: RunResource,
): Promise<StageResult> {
  const made = await backend.artifacts(run)
  const places = made.map(({ place }) => place)
  if (folder === undefined) return resultOf(stage, run, places)
  const own = join(folder, stage)
  await mkdir(own, { recursive: true })
  const artifacts = made.filter(({ status }) => status === 'approved' || status === 'review')
  const written = await pullFiles(backend, artifacts, { folder: own, force: true, order: run.outputs })
  const files = written.map(({ path }) => path)
  const result = resultOf(stage, run, files)
  await writeWhole(resultPath(folder, stage), `${JSON.stringify(result, null, 2)}\n`)
  return result
}

/** What a stage gave in an earlier run of the set; null where nothing was kept. Throws `InvalidRequest` for a broken file. */
export async function keptResult(folder: string, stage: string): Promise<StageResult | null> {
  const path = resultPath(folder, stage)
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null
    throw new InvalidRequest(`${path}: it cannot be read (${error.code ?? error.message})`)
  })
  if (text === null) return null
  try {
    const value: unknown = JSON.parse(text)
    if (isJsonObject(value) && typeof value.run_id === 'string' && Array.isArray(value.outputs)) {
      return value as unknown as StageResult
    }
  } catch {
    // Told below, like a text that is JSON but not ours.
  }
  throw new InvalidRequest(`${path}: this is not what a workflow set has written; remove it and run the stage again`)
}
