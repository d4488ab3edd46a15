// An answer of fal: the files that it names, wherever and however, what of them was flagged, and what else it says.
// Hides that every endpoint has a form of its own.
import type { FileLink, MadeFile } from '@fabrique/engine'
import { isJsonObject, objectOf, type JsonObject, type JsonValue, textOf } from '@fabrique/schema'

const DEPTH_MAX = 10
const FILES_MAX = 100
/** Of all that an answer says beside its files. */
const TEXT_LENGTH = 1024 * 1024
const SIDE_MAX = 65_536
const SECONDS_MAX = 86_400

/** Names of fields that hold files: `image`, `images`, `audio_url`, `model_glb`, `mask_urls`. */
const FILE_FIELDS =
  /^(?:[a-z0-9_]{0,40}_)?(?:image|picture|video|audio|speech|music|sound|file|mask|gif|mesh|glb|output|result|thumbnail|url)s?(?:_urls?)?$/i
const FILE_ENDINGS =
  /\.(?:png|jpe?g|webp|gif|avif|svg|psd|mp4|webm|mov|mkv|mp3|wav|flac|ogg|opus|m4a|aac|glb|gltf|obj|fbx|usdz|ply|stl|splat|pdf|zip|srt|vtt|safetensors)$/i

const DATA_URL = /^data:[a-z]{1,20}\/[a-z0-9.+-]{1,80}[;,]/i

/** Whether a text is a file by itself. */
export function isDataUrl(text: string): boolean {
  return DATA_URL.test(text.slice(0, 200))
}

/** A file of an answer; `said` is what the answer says of it, null where it leaves something out. */
export interface NamedFile extends FileLink {
  said: MadeFile
}

export interface ReadAnswer {
  /** All that was made, in its order. */
  made: NamedFile[]
  /** Without those that the safety checker flagged, each once. */
  files: NamedFile[]
  flagged: number
  /** Everything but the files, bounded. */
  output: JsonObject
}

/** Reads an answer; texts of the request that it echoes are no files. */
export function readAnswer(data: JsonObject, request: JsonObject): ReadAnswer {
  const sent = new Set(textsIn(request))
  const files: NamedFile[] = []
  let room = TEXT_LENGTH

  function isFile(text: string, field: string): boolean {
    if (sent.has(text) || files.length >= FILES_MAX) return false
    if (isDataUrl(text)) return true
    if (!/^https?:\/\//i.test(text)) return false
    return FILE_FIELDS.test(field.slice(0, 80)) || FILE_ENDINGS.test(URL.parse(text)?.pathname ?? '')
  }

  /** The value without its files; undefined where nothing is left, or there is no room for it. */
  function read(value: JsonValue, field: string, depth: number): JsonValue | undefined {
    if (depth > DEPTH_MAX) return undefined
    if (typeof value === 'string' && isFile(value, field)) {
      files.push({ name: nameOf(field), url: value, said: saidOf({}) })
      return undefined
    }
    if (Array.isArray(value)) {
      const left = value.flatMap((one) => read(one, field, depth + 1) ?? [])
      return left.length === 0 && value.length > 0 ? undefined : left
    }
    if (isJsonObject(value)) {
      if (depth > 0 && typeof value.url === 'string' && isFile(value.url, 'url')) {
        files.push({ name: nameOf(field), url: value.url, said: saidOf(value) })
        return undefined
      }
      const bytes = [value.file_data, value.b64_json, value.base64].map(textOf).find((text) => text !== '')
      if (depth > 0 && bytes !== undefined && files.length < FILES_MAX) {
        const url = isDataUrl(bytes) ? bytes : `data:application/octet-stream;base64,${bytes}`
        files.push({ name: nameOf(field), url, said: saidOf(value) })
        return undefined
      }
      const left: JsonObject = {}
      for (const [name, member] of Object.entries(value)) {
        const kept = read(member, name, depth + 1)
        if (kept !== undefined && name !== '__proto__') left[name] = kept
      }
      return depth > 0 && Object.keys(left).length === 0 && Object.keys(value).length > 0 ? undefined : left
    }
    room -= textOf(value).length + field.length + 4
    return room < 0 ? undefined : value
  }

  const output = read(data, 'file', 0)
  const kept = unflagged(files, flagsIn(data))
  const urls = new Set<string>()
  return {
    made: files,
    flagged: files.length - kept.length,
    files: kept.filter(({ url }) => !urls.has(url) && urls.add(url)),
    output: objectOf(output),
  }
}

/** The name of what a field holds: `audio` for `audio_url`. */
function nameOf(field: string): string {
  const name = field
    .replace(/_urls?$/i, '')
    .replaceAll(/[^A-Za-z0-9_-]/g, '-')
    .slice(0, 64)
  return /^(?:|urls?)$/i.test(name) ? 'file' : name
}

function saidOf({ content_type: type, width, height, duration }: JsonObject): MadeFile {
  const within = (value: JsonValue | undefined, most: number) =>
    typeof value === 'number' && value > 0 && value <= most ? value : null
  const seconds = within(duration, SECONDS_MAX)
  return {
    mimeType: textOf(type),
    width: within(width, SIDE_MAX),
    height: within(height, SIDE_MAX),
    durationMs: seconds === null ? null : seconds * 1000,
  }
}

/** `has_nsfw_concepts: [true, false]` and the like, one for each picture or one for all. */
function flagsIn(data: JsonObject): boolean[] {
  const flags = Object.entries(data).find(([name, value]) => /nsfw/i.test(name) && [value].flat().includes(true))
  return flags === undefined ? [] : [flags[1]].flat().map((flag) => flag === true)
}

/** The files that were not flagged; none where it cannot be told which were. */
function unflagged(files: NamedFile[], flags: boolean[]): NamedFile[] {
  if (flags.length === 0) return files
  const pictures = files.filter(({ name }) => name === files[0]?.name)
  if (flags.length !== pictures.length) return []
  return files.filter((file) => flags[pictures.indexOf(file)] !== true)
}

/** The texts anywhere in a value, to a depth. */
export function textsIn(value: JsonValue, depth = 0): string[] {
  if (typeof value === 'string') return [value]
  if (depth > DEPTH_MAX || typeof value !== 'object' || value === null) return []
  return Object.values(value).flatMap((one) => textsIn(one, depth + 1))
}
