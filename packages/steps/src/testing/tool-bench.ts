// For tests only: a place to run one tool on real files, with the checks that the engine makes around it.
// Hides the run that a tool is normally a step of.
import { type InputFile, StepFailure, type StepContext, type Tool } from '@fabrique/engine'
import { anArtifact } from '@fabrique/engine/testing'
import { isJsonObject, type JsonObject, type JsonValue, textOf } from '@fabrique/schema'
import { inspect } from '../inspect.ts'

/** A bench with no files on it. */
export function createToolBench(signal: AbortSignal = new AbortController().signal) {
  const files = new Map<string, InputFile>()
  const progress: JsonObject[] = []

  /** Puts a file there, as a step would have; answers its reference. */
  async function put(bytes: Uint8Array, mimeType: string): Promise<JsonObject> {
    const { problem, ...facts } = await inspect(bytes, mimeType)
    if (problem !== undefined) throw new StepFailure('bad_output', problem, { billed: 'yes' })
    const id = `file-${files.size + 1}`
    const record = anArtifact(id, { ...facts, bytes: bytes.byteLength })
    files.set(id, { record, bytes })
    return { id, mime_type: facts.mimeType, bytes: bytes.byteLength, sha256: record.sha256 }
  }

  function fileOf(reference: JsonValue | undefined): InputFile {
    const file = isJsonObject(reference) ? files.get(textOf(reference.id)) : undefined
    if (file === undefined) throw new StepFailure('invalid', 'There is no such file.')
    return file
  }

  const context: StepContext = {
    signal,
    call: () => Promise.reject(new Error('a tool calls no model')),
    callWorkflow: () => Promise.reject(new Error('a tool starts no run')),
    schema: () => Promise.reject(new Error('a tool has no schema')),
    open: async (reference) => fileOf(reference),
    store: async ({ bytes, mimeType }) => await put(bytes, mimeType),
    progress: (payload) => void progress.push(payload),
    once: async (_, work) => await work(),
    tool: () => undefined,
  }

  return {
    put,
    fileOf,
    progress,
    /** The output of a tool; its arguments are checked first. */
    async run(tool: Tool, args: JsonObject): Promise<JsonObject> {
      const output = await tool.run(tool.args.parse(args) as JsonObject, context)
      if (!isJsonObject(output)) throw new Error(`${tool.name} answered something that is not an object`)
      for (const key of Object.keys(output)) {
        if (!tool.outputKeys.includes(key)) throw new Error(`${tool.name} does not announce its output "${key}"`)
      }
      return output
    },
  }
}
