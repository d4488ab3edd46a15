// A bounded deep copy of a JSON value, so that defaults never reach the caller's own object.
// Hides the measuring on the way: what a validator has to go through.

import { isPrototypeKey, pointerTo, PROBLEMS_MAX } from '@fabrique/schema'
import type { ValueProblem } from './sentences.ts'

/** The copy with its measures, or the problems that forbid to look at the value any further. */
export interface ValueCopy {
  problems: ValueProblem[]
  value: unknown
  nodes: number
  /** UTF-16 units of all strings and keys. */
  characters: number
  /** UTF-16 units of the longest string or key. */
  longest: number
}

export interface ValueLimits {
  /** What problems call the whole. */
  what: string
  nodes: number
  characters: number
}

/** More than twice what the front door lets in. */
const VALUE_LIMITS: ValueLimits = { what: 'the value', nodes: 20_000, characters: 2 * 1024 * 1024 }
const MAX_DEPTH = 64

/** Copies plain JSON; prototype keys, other kinds of values, and what is over the limits are problems. */
export function copyValue(value: unknown, { what, nodes, characters }: ValueLimits = VALUE_LIMITS): ValueCopy {
  const copy: ValueCopy = { problems: [], value: undefined, nodes: 0, characters: 0, longest: 0 }
  const refuse = (pointer: string, detail: string): undefined => {
    if (copy.problems.length < PROBLEMS_MAX) copy.problems.push({ pointer, detail: `${pointer || what} ${detail}` })
    return undefined
  }
  const measure = (text: string): void => {
    copy.characters += text.length
    if (text.length > copy.longest) copy.longest = text.length
  }
  // The path is joined only where there is something to say: this runs for every submit.
  const path: (string | number)[] = []
  const pointer = (): string => pointerTo(...path)

  const visit = (part: unknown): unknown => {
    copy.nodes += 1
    if (copy.nodes > nodes || copy.characters > characters) {
      const why = copy.nodes > nodes ? `has more than ${nodes} values` : `is larger than ${characters / 1024} KiB`
      if (copy.problems.length === 0) refuse('', `${why}; shorten it`)
      return undefined
    }
    if (typeof part === 'string') {
      measure(part)
      return part
    }
    if (part === null || typeof part === 'boolean') return part
    if (typeof part === 'number') return Number.isFinite(part) ? part : refuse(pointer(), 'is not a JSON value')
    if (typeof part !== 'object') return refuse(pointer(), 'is not a JSON value')
    if (path.length >= MAX_DEPTH) return refuse('', `is nested deeper than ${MAX_DEPTH} levels; flatten it`)
    if (Array.isArray(part)) {
      const items: unknown[] = []
      for (let index = 0; index < part.length && copy.nodes <= nodes; index += 1) {
        path.push(index)
        items.push(visit(part[index]))
        path.pop()
      }
      return items
    }
    const members: Record<string, unknown> = {}
    for (const key of Object.keys(part)) {
      const member = (part as Record<string, unknown>)[key]
      if (member === undefined) continue
      path.push(key)
      measure(key)
      if (isPrototypeKey(key)) refuse(pointer(), 'is a name that is not allowed; choose another')
      else members[key] = visit(member)
      path.pop()
    }
    return members
  }

  copy.value = visit(value)
  return copy
}
