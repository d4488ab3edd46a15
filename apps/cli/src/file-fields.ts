// Files that an input names, put into the spec as data: URIs, since a run-spec travels without a disk.
// Hides which places of an intake schema take a file, and where a relative name is looked for.
import { readFile, stat } from 'node:fs/promises'
import { extname, resolve } from 'node:path'
import { isJsonObject, type JsonObject, type JsonValue, pathOf, pointerTo } from '@fabrique/schema'
import { InvalidRequest } from './failure.ts'

const MEDIA_TYPES: Record<string, string> = {
  '.png': 'image/png',
  '.jpg': 'image/jpeg',
  '.jpeg': 'image/jpeg',
  '.webp': 'image/webp',
  '.gif': 'image/gif',
  '.avif': 'image/avif',
  '.wav': 'audio/wav',
  '.mp3': 'audio/mpeg',
  '.m4a': 'audio/mp4',
  '.ogg': 'audio/ogg',
  '.mp4': 'video/mp4',
  '.webm': 'video/webm',
  '.txt': 'text/plain',
  '.md': 'text/markdown',
  '.csv': 'text/csv',
  '.json': 'application/json',
  '.pdf': 'application/pdf',
}

export interface FileFieldOptions {
  /** Pointers as `fileFields` of the schema package gives them, `*` for any item. */
  fields: readonly string[]
  limitBytes: number
  /** The folder that a name at this pointer is relative to, and the place to tell. */
  origin(pointer: string): { folder: string; place: string }
  /** Bytes for a value that is not a name: an artifact of another run. Undefined leaves the value alone. */
  artifact?(value: JsonObject): Promise<{ bytes: Uint8Array; mimeType: string }> | undefined
}

/** The input with every file in it; the same object where it names none. Throws `InvalidRequest` at a file's place. */
export async function inlineFiles(input: JsonObject, options: FileFieldOptions): Promise<JsonObject> {
  const wanted = options.fields.map(pathOf)

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
  if (isJsonObject(value)) {
    const found = await options.artifact?.(value)
    return found === undefined ? undefined : dataUri(found.bytes, found.mimeType, pointer, options)
  }
  if (typeof value !== 'string' || value.startsWith('data:')) return undefined
  const { folder, place } = options.origin(pointer)
  const file = resolve(folder, value)
  const facts = await stat(file).catch(() => undefined)
  if (facts === undefined || !facts.isFile()) {
    throw new InvalidRequest(`${place}: there is no file ${value}, seen from ${resolve(folder)}`)
  }
  if (facts.size > options.limitBytes) throw tooLarge(place, value, facts.size, options.limitBytes)
  const mimeType = MEDIA_TYPES[extname(file).toLowerCase()] ?? 'application/octet-stream'
  return dataUri(await readFile(file), mimeType, pointer, options)
}

function dataUri(bytes: Uint8Array, mimeType: string, pointer: string, options: FileFieldOptions): string {
  const { place } = options.origin(pointer)
  if (bytes.byteLength > options.limitBytes) throw tooLarge(place, 'the file', bytes.byteLength, options.limitBytes)
  return `data:${mimeType};base64,${Buffer.from(bytes).toString('base64')}`
}

function tooLarge(place: string, name: string, size: number, limit: number): InvalidRequest {
  return new InvalidRequest(`${place}: ${name} has ${size} bytes; within a run-spec a file may have at most ${limit}`)
}
