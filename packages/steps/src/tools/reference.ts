// The shapes in which a template hands files to a tool: a file, the output of a step that made one, or a list of them.
// Hides which member holds the file.
import { isJsonObject, type JsonObject, type JsonValue } from '@fabrique/schema'

/** The file that a value stands for: itself, or its `image`, `audio` or `artifact`; undefined where there is none. */
export function artifactIn(value: JsonValue | undefined): JsonObject | undefined {
  if (!isJsonObject(value)) return undefined
  if (typeof value.id === 'string' && typeof value.sha256 === 'string') return value
  return artifactIn(value.image) ?? artifactIn(value.audio) ?? artifactIn(value.artifact)
}

/** The first text among a value itself and these members of it, trimmed; undefined where there is none. */
export function textIn(value: JsonValue | undefined, ...members: readonly string[]): string | undefined {
  const candidates = isJsonObject(value) ? members.map((member) => value[member]) : [value]
  const found = candidates.find((candidate) => typeof candidate === 'string' && candidate.trim() !== '')
  return typeof found === 'string' ? found.trim() : undefined
}
