// A run's files in a folder, named by their role; each is what its hash says, and none replaces another unasked.
// Hides how several files with one role are told apart.
import { createHash } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { extensionOf } from '@fabrique/artifacts'
import { type Artifact, FabriqueError } from '@fabrique/schema'
import type { Backend } from './backend.ts'
import { InvalidRequest } from './failure.ts'

type PulledArtifact = Pick<Artifact, 'id' | 'run_id' | 'role' | 'mime_type' | 'sha256'>

export interface PullOptions {
  folder: string
  /** Overwrite files that differ. */
  force: boolean
  /** The slots of the run; with more than one, each file's name begins with its slot. */
  order: readonly { index: number; run_id: string }[]
}

/**
 * Writes the files and answers them in order; a file that is there already, byte for byte, is left alone.
 * Throws `InvalidRequest` before anything is written where a different one is in the way.
 */
export async function pullFiles(
  backend: Pick<Backend, 'read'>,
  artifacts: readonly PulledArtifact[],
  { folder, force, order }: PullOptions,
) {
  const names = namesOf(artifacts, order)
  const files = artifacts.map(({ id, role, sha256 }, index) => {
    return { path: join(folder, names[index] ?? id), role, sha256, artifact_id: id }
  })
  const present = await Promise.all(files.map(({ path }) => hashOf(path)))
  const inTheWay = files.filter(({ sha256 }, index) => present[index] !== null && present[index] !== sha256)
  if (inTheWay.length > 0 && !force) {
    const lines = inTheWay.map(({ path }) => `${path}: a different file is there; use --force to overwrite it`)
    throw new InvalidRequest(lines.join('\n'))
  }
  await mkdir(folder, { recursive: true })
  for (const [index, { path, sha256, artifact_id: id }] of files.entries()) {
    if (present[index] === sha256) continue
    const bytes = await backend.read(id)
    if (sha256Of(bytes) !== sha256) {
      const message = `The file of artifact ${id} is not what its SHA-256 says; nothing was kept of it.`
      throw new FabriqueError('unavailable', message)
    }
    await writeWhole(path, bytes)
  }
  return files
}

/** Under its name only when it is whole; replaces what is there. */
export async function writeWhole(path: string, content: Uint8Array | string): Promise<void> {
  const partial = `${path}.partial-${process.pid}`
  await writeFile(partial, content)
  await rename(partial, path)
}

/** `role.ext`; then `role-2.ext` for the second of that name. Slots of a run with several come first: `1-role.ext`. */
function namesOf(artifacts: readonly PulledArtifact[], order: PullOptions['order']): string[] {
  const slots = new Map(order.length > 1 ? order.map(({ run_id, index }) => [run_id, `${index}-`]) : [])
  const taken = new Set<string>()
  return artifacts.map(({ run_id: runId, role, mime_type: mimeType }) => {
    const stem = (slots.get(runId) ?? '') + (role.replaceAll(/[^A-Za-z0-9_-]+/g, '-') || 'file')
    for (let count = 1; ; count += 1) {
      const name = `${stem}${count === 1 ? '' : `-${count}`}.${extensionOf(mimeType)}`
      if (taken.has(name)) continue
      taken.add(name)
      return name
    }
  })
}

/** Null where there is nothing; a folder or what cannot be read is something different. */
async function hashOf(path: string): Promise<string | null> {
  try {
    return sha256Of(await readFile(path))
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? null : ''
  }
}

function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
