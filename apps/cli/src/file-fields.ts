// Files that an input names, put into the spec as data: URIs, since a run-spec travels without a disk.
// Hides which places of an intake schema take a file, where a name is looked for, and that links lead nowhere else.
import { readFile, realpath, stat } from 'node:fs/promises'
import { extname, isAbsolute, relative, resolve, sep } from 'node:path'
import { mediaTypeOf } from '@fabrique/artifacts'
import {
  fileFields,
  isJsonObject,
  isOfFormat,
  type JsonObject,
  type JsonValue,
  pathOf,
  pointerTo,
} from '@fabrique/schema'
import type { Backend } from './backend.ts'
import { InvalidRequest } from './failure.ts'
import { type Layer, placeIn } from './spec.ts'

/** How names of files are read; the schema that makes a text one is the server's, so each is said. */
export interface FileAccess {
  /** Also files that are not below the folder of the document that names them. */
  allowFilesOutside: boolean
  say(line: string): void
}

interface FileFieldOptions extends FileAccess {
  limitBytes: number
  /** Where the input comes from: a name is looked for in the folder of its layer, and told at its place there. */
  layers: readonly Layer[]
  /** Pointer of the input within the spec. */
  at: string
  artifact?: ArtifactReader | undefined
}

/** Bytes for a value that is not a name: an artifact of another run. Undefined leaves the value alone. */
export type ArtifactReader = (value: JsonObject) => Promise<{ bytes: Uint8Array; mimeType: string }> | undefined

/** The spec with the files that its input names, or the inputs of its bundle. Throws `InvalidRequest` at a file's place. */
export async function inlineSpecFiles(
  backend: Pick<Backend, 'inlineLimitBytes' | 'workflow'>,
  spec: JsonObject,
  intakeSchema: JsonObject | null,
  layers: readonly Layer[],
  access: FileAccess,
  artifact?: ArtifactReader,
): Promise<JsonObject> {
  const options = { ...access, limitBytes: backend.inlineLimitBytes, layers, artifact }
  if (Array.isArray(spec.bundle)) {
    const entries = spec.bundle.map(async (entry, index) => {
      if (!isJsonObject(entry) || !isJsonObject(entry.input) || typeof entry.workflow !== 'string') return entry
      const schema = (await backend.workflow(entry.workflow))?.intakeSchema
      if (!isJsonObject(schema)) return entry
      const at = `/bundle/${index}/input`
      return { ...entry, input: await inlineFiles(entry.input, fileFields(schema), { ...options, at }) }
    })
    return { ...spec, bundle: await Promise.all(entries) }
  }
  if (!isJsonObject(spec.input) || intakeSchema === null) return spec
  return { ...spec, input: await inlineFiles(spec.input, fileFields(intakeSchema), { ...options, at: '/input' }) }
}

/** The input with every file in it, at these pointers, where `*` stands for any item; itself where it names none. */
export async function inlineFiles(
  input: JsonObject,
  fields: readonly string[],
  options: FileFieldOptions,
): Promise<JsonObject> {
  const wanted = fields.map(pathOf)

  async function walk(value: JsonValue, path: string[], fields: readonly string[][]): Promise<JsonValue> {
    if (fields.length === 0) return value
    const pointer = pointerTo(...path)
    if (fields.some((field) => field.length === path.length)) {
      const inlined = await inline(value, pointer, options)
      if (inlined !== undefined) return inlined
    }
    const below = (key: string) => fields.filter((field) => field[path.length] === key || field[path.length] === '*')
    if (Array.isArray(value)) {
      return await Promise.all(value.map((item, index) => walk(item, [...path, `${index}`], below(`${index}`))))
    }
    if (!isJsonObject(value)) return value
    const members = Object.entries(value).map(async ([key, member]) => [
      key,
      await walk(member, [...path, key], below(key)),
    ])
    return Object.fromEntries(await Promise.all(members)) as JsonObject
  }

  return wanted.length === 0 ? input : ((await walk(input, [], wanted)) as JsonObject)
}

async function inline(value: JsonValue, pointer: string, options: FileFieldOptions): Promise<string | undefined> {
  const { limitBytes, layers, at } = options
  const [layer, place] = placeIn(layers, at + pointer)
  const checkSize = (name: string, size: number) => {
    if (size <= limitBytes) return
    throw new InvalidRequest(
      `${place}: ${name} has ${size} bytes; within a run-spec a file may have at most ${limitBytes}`,
    )
  }
  const dataUri = (bytes: Uint8Array, mimeType: string) => {
    checkSize('the file', bytes.byteLength)
    return `data:${mimeType};base64,${Buffer.from(bytes).toString('base64')}`
  }
  if (isJsonObject(value)) {
    const found = await options.artifact?.(value)
    return found === undefined ? undefined : dataUri(found.bytes, found.mimeType)
  }
  if (typeof value !== 'string' || isOfFormat(value, 'file')) return undefined
  if (layer === undefined || layer.folder === null) {
    throw new InvalidRequest(`${place}: what a run gave is text and never names a file; take an artifact of the run`)
  }
  const folder = resolve(layer.folder)
  const file = await realpath(resolve(folder, value)).catch(() => undefined)
  if (file !== undefined && !options.allowFilesOutside && !isBelow(await realpath(folder), file)) {
    throw new InvalidRequest(`${place}: ${value} is not below ${folder}; --allow-files-outside lets it be read`)
  }
  const facts = file === undefined ? undefined : await stat(file)
  if (file === undefined || facts === undefined || !facts.isFile()) {
    throw new InvalidRequest(`${place}: there is no file ${value}, seen from ${folder}`)
  }
  checkSize(value, facts.size)
  options.say(`${place}: reading the file ${file}`)
  return dataUri(await readFile(file), mediaTypeOf(extname(file)))
}

function isBelow(folder: string, file: string): boolean {
  const way = relative(folder, file)
  return way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way)
}
