// Walks over a text of JSON or TOML without building anything of it, and notes where each value stands.
// Hides the nesting that the two share, and its bounds; scalars, keys and what else only one of them has come from its reader.
import { type DocumentLimits, failTooDeep, failTooManyNodes, type Path, type Place } from './document-rules.ts'
import { pointerTo } from './json-schema/pointer.ts'

/** What the scanner has to know of a format. Patterns are sticky. */
export interface Notation {
  space: RegExp
  colon: ':' | '='
  trailingComma: boolean
  /** Moves behind one key, appends it to the path of its object, and gives the place that it has noted for it. */
  key(path: (string | number)[]): Place
  /** Moves behind a value that is neither a list nor an object. */
  scalar(path: Path): void
  /** Ends the walk where the text is not what it should be. */
  fail(path: Path, expected: string): never
}

export interface Scanner {
  readonly places: Map<string, Place>
  /** Index of the next character. */
  offset(): number
  /** What the sticky pattern matches here, after moving behind it; undefined where it does not match. */
  take(pattern: RegExp): string | undefined
  /** Counts one value, before there are too many. */
  count(): void
  /** Notes a place, unless it was noted before. */
  note(path: Path, offset: number): Place
  /** One value with the space around it; a member of an object stands where its key does. */
  value(path: Path, place?: Place): void
  /** A key with its value, of the object at the path. */
  member(path: Path): void
}

export function createScanner(text: string, limits: DocumentLimits, notation: Notation): Scanner {
  const places = new Map<string, Place>()
  let [at, values] = [0, 0]

  function take(pattern: RegExp): string | undefined {
    pattern.lastIndex = at
    const found = pattern.exec(text)?.[0]
    at += found?.length ?? 0
    return found
  }

  function count(): void {
    if (++values > limits.nodes) failTooManyNodes(limits, at)
  }

  function note(path: Path, offset: number): Place {
    const pointer = pointerTo(...path)
    const place = places.get(pointer) ?? { key: offset, value: offset }
    places.set(pointer, place)
    return place
  }

  function value(path: Path, noted?: Place): void {
    take(notation.space)
    count()
    const place = noted ?? note(path, at)
    place.value = at
    const closing = text[at] === '[' ? ']' : text[at] === '{' ? '}' : undefined
    if (closing === undefined) notation.scalar(path)
    else {
      if (path.length >= limits.depth) failTooDeep(limits, path, at)
      at++
      take(notation.space)
      for (let index = 0; text[at] !== closing || (index > 0 && !notation.trailingComma); index++) {
        if (closing === '}') member(path)
        else value([...path, index])
        if (text[at] === closing) break
        if (text[at] !== ',') notation.fail(path, `"," or "${closing}"`)
        at++
        take(notation.space)
      }
      at++
    }
    take(notation.space)
  }

  function member(owner: Path): void {
    const path = [...owner]
    const place = notation.key(path)
    take(notation.space)
    if (text[at] !== notation.colon) notation.fail(path, `"${notation.colon}" after the key`)
    at++
    value(path, place)
  }

  return { places, offset: () => at, take, count, note, value, member }
}
