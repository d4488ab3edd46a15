// Regular expressions of strangers, matched in time linear in the text: ECMAScript syntax without look-around and
// back-references. Hides the automaton: parsed once, run as a lazily built DFA that falls back to its NFA in bounded
// memory.

/** A compiled pattern; the part of RegExp that a validator needs. */
export interface LinearPattern {
  readonly source: string
  /** True where the pattern matches anywhere in the text, as `RegExp.test` with the `u` flag would answer. */
  test(text: string): boolean
  /** Steps per character in the worst case; what a caller multiplies with the length of a text to bound the time. */
  readonly stepsPerCharacter: number
}

/** Why a pattern is refused, and what to write instead. */
export class PatternRefused extends Error {}

const MAX_SOURCE = 2_000
const MAX_PROGRAM = 3_000
const MAX_GROUP_DEPTH = 50
// Together about 200 KB for a pattern that is fed hostile text; an ordinary one needs a few dozen transitions.
const MAX_CACHED_THREADS = 10_000
const MAX_CACHED_TRANSITIONS = 2_000
const MAX_CACHED_CHARACTERS = 500

type Assertion = 'start' | 'end' | 'boundary' | 'inside'
type Tree =
  | { kind: 'set'; set: CharacterSet }
  | { kind: 'assert'; assertion: Assertion }
  | { kind: 'sequence' | 'choice'; parts: Tree[] }
  | { kind: 'repeat'; part: Tree; min: number; max: number }
type Instruction =
  | { op: 'set'; set: CharacterSet }
  | { op: 'assert'; assertion: Assertion }
  | { op: 'split'; to: number[] }
  | { op: 'match' }

/**
 * Compiles a pattern. Throws PatternRefused with the remedy for look-around, back-references, modifiers, a syntax
 * error, and patterns that are too long or that expand to too many states (`a{1000}{1000}`).
 */
export function compileLinearPattern(source: string): LinearPattern {
  if (source.length > MAX_SOURCE) {
    throw new PatternRefused(`has ${source.length} characters; ${MAX_SOURCE} are the most. Use enum for long lists`)
  }
  const sets = new Map<string, CharacterSet>()
  const tree = parse(source, sets)
  try {
    new RegExp(source, 'u')
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/^.*: (?=[^:]+$)/s, '') : 'syntax error'
    throw new PatternRefused(
      `is not a valid regular expression (${reason}); escape only characters that have a meaning`,
    )
  }
  const program: Instruction[] = []
  emit(tree, program)
  program.push({ op: 'match' })
  return {
    source,
    test: createMatcher(program),
    stepsPerCharacter: program.length + 8 * sets.size,
  }
}

/**
 * One class, escape or character; native RegExp decides membership of a single code point, which takes constant time.
 */
interface CharacterSet {
  has(codePoint: number): boolean
}

function createCharacterSet(source: string): CharacterSet {
  const single = new RegExp(`^${source}$`, 'u')
  const ask = (codePoint: number): boolean => single.test(String.fromCodePoint(codePoint))
  const ascii = new Uint8Array(128)
  let others = new Map<number, boolean>()
  return {
    has(codePoint) {
      if (codePoint < 128) {
        const known = ascii[codePoint]
        if (known !== 0) return known === 2
        const answer = ask(codePoint)
        ascii[codePoint] = answer ? 2 : 1
        return answer
      }
      const known = others.get(codePoint)
      if (known !== undefined) return known
      if (others.size >= MAX_CACHED_CHARACTERS) others = new Map()
      const answer = ask(codePoint)
      others.set(codePoint, answer)
      return answer
    },
  }
}

function parse(source: string, sets: Map<string, CharacterSet>): Tree {
  let at = 0
  let groupDepth = 0

  const setOf = (text: string): Tree => {
    let set = sets.get(text)
    if (set === undefined) {
      try {
        set = createCharacterSet(text)
      } catch {
        throw new PatternRefused(`is not a valid regular expression near "${text.slice(0, 40)}"`)
      }
      sets.set(text, set)
    }
    return { kind: 'set', set }
  }

  const choice = (): Tree => {
    const parts = [sequence()]
    while (source[at] === '|') {
      at += 1
      parts.push(sequence())
    }
    return parts.length === 1 && parts[0] !== undefined ? parts[0] : { kind: 'choice', parts }
  }

  const sequence = (): Tree => {
    const parts: Tree[] = []
    while (at < source.length && source[at] !== '|' && source[at] !== ')') parts.push(term())
    return { kind: 'sequence', parts }
  }

  const term = (): Tree => {
    const part = atom()
    const quantifier = /^(?:[*+?]|\{(\d+)(?:(,)(\d*))?\})\??/.exec(source.slice(at, at + 40))
    if (quantifier === null) return part
    if (part.kind === 'assert') throw new PatternRefused('is not a valid regular expression (nothing to repeat)')
    at += quantifier[0].length
    const [text, low, comma, high] = quantifier
    if (low === undefined)
      return { kind: 'repeat', part, min: text[0] === '+' ? 1 : 0, max: text[0] === '?' ? 1 : Infinity }
    const min = Number(low)
    const max = comma === undefined ? min : high === undefined || high === '' ? Infinity : Number(high)
    return { kind: 'repeat', part, min, max }
  }

  const atom = (): Tree => {
    const character = source[at]
    if (character === '^' || character === '$') {
      at += 1
      return { kind: 'assert', assertion: character === '^' ? 'start' : 'end' }
    }
    if (character === '(') return group()
    if (character === '[') return setOf(take(/^\[(?:[^\]\\]|\\[^])*\]/u))
    if (character === '\\') return escape()
    if (character === '.') return setOf(take(/^\./))
    if (character !== undefined && '*+?{}]'.includes(character)) {
      throw new PatternRefused(`is not a valid regular expression: put a backslash before "${character}"`)
    }
    const plain = take(/^[^]/u)
    return setOf(plain === '/' ? '\\/' : plain)
  }

  const take = (shape: RegExp): string => {
    const found = shape.exec(source.slice(at))?.[0]
    if (found === undefined) throw new PatternRefused('is not a valid regular expression (a bracket is not closed)')
    at += found.length
    return found
  }

  const group = (): Tree => {
    const opening = /^\((?:\?(?::|<[=!]|<[^>]*>|[^]))?/u.exec(source.slice(at))?.[0] ?? '('
    if (/^\(\?<?[=!]/.test(opening)) {
      throw new PatternRefused(
        'is unsafe: look-ahead and look-behind cannot be matched in linear time. Split it into several patterns under allOf, or use not',
      )
    }
    if (opening.startsWith('(?') && !opening.endsWith(':') && !opening.endsWith('>')) {
      throw new PatternRefused('uses a group that is not supported; write (…) or (?:…)')
    }
    at += opening.length
    groupDepth += 1
    if (groupDepth > MAX_GROUP_DEPTH) throw new PatternRefused(`nests more than ${MAX_GROUP_DEPTH} groups`)
    const inner = choice()
    groupDepth -= 1
    if (source[at] !== ')') throw new PatternRefused('is not a valid regular expression (a group is not closed)')
    at += 1
    return inner
  }

  const escape = (): Tree => {
    const next = source[at + 1]
    if (next === 'b' || next === 'B') {
      at += 2
      return { kind: 'assert', assertion: next === 'b' ? 'boundary' : 'inside' }
    }
    if (next !== undefined && /[1-9k]/.test(next)) {
      throw new PatternRefused('is unsafe: a back-reference cannot be matched in linear time. Spell the repetition out')
    }
    return setOf(
      take(
        /^\\(?:u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|u[\da-fA-F]{4}|u\{[\da-fA-F]+\}|x[\da-fA-F]{2}|c[a-zA-Z]|[pP]\{[^}]*\}|[^])/u,
      ),
    )
  }

  const tree = choice()
  if (at < source.length) throw new PatternRefused('is not a valid regular expression (a bracket too many)')
  return tree
}

function emit(tree: Tree, program: Instruction[]): void {
  if (program.length > MAX_PROGRAM) {
    throw new PatternRefused(
      `is too large: its repetitions expand to more than ${MAX_PROGRAM} states. Bound the length with minLength and maxLength instead`,
    )
  }
  switch (tree.kind) {
    case 'set':
      program.push({ op: 'set', set: tree.set })
      return
    case 'assert':
      program.push({ op: 'assert', assertion: tree.assertion })
      return
    case 'sequence':
      for (const part of tree.parts) emit(part, program)
      return
    case 'choice':
      emitChoice(tree.parts, program)
      return
    case 'repeat':
      emitRepeat(tree, program)
  }
}

/** A split to every part, and after each part a jump (a split with one way) behind the last. */
function emitChoice(parts: Tree[], program: Instruction[]): void {
  const ways: number[] = []
  const ends: number[][] = []
  program.push({ op: 'split', to: ways })
  for (const part of parts) {
    ways.push(program.length)
    emit(part, program)
    const end: number[] = []
    ends.push(end)
    program.push({ op: 'split', to: end })
  }
  for (const end of ends) end.push(program.length)
}

function emitRepeat(tree: { part: Tree; min: number; max: number }, program: Instruction[]): void {
  // An empty group repeats to nothing, however often: never loop over its count.
  if (isEmpty(tree.part)) return
  for (let count = 0; count < tree.min; count += 1) emit(tree.part, program)
  if (tree.max === Infinity) {
    const ways = [program.length + 1]
    const loop = program.length
    program.push({ op: 'split', to: ways })
    emit(tree.part, program)
    program.push({ op: 'split', to: [loop] })
    ways.push(program.length)
    return
  }
  const skips: number[][] = []
  for (let count = tree.min; count < tree.max; count += 1) {
    const ways = [program.length + 1]
    skips.push(ways)
    program.push({ op: 'split', to: ways })
    emit(tree.part, program)
  }
  for (const ways of skips) ways.push(program.length)
}

/** True where the tree emits no instruction at all. */
function isEmpty(tree: Tree): boolean {
  if (tree.kind === 'sequence') return tree.parts.every(isEmpty)
  return tree.kind === 'repeat' && (tree.max === 0 || isEmpty(tree.part))
}

/** What the automaton knows between two characters: where it may be, and what lies behind it (for ^ and \b). */
interface State {
  threads: number[]
  atStart: boolean
  afterWord: boolean
  /** Filled as texts ask; undefined until then. */
  next: Map<number, State | 'match'>
  endMatches: boolean | undefined
}

function createMatcher(program: Instruction[]): (text: string) => boolean {
  const seen = new Uint32Array(program.length)
  let generation = 0
  const states = new Map<string, State>()
  let cachedThreads = 0
  let cachedTransitions = 0
  const makeState = (threads: number[], atStart: boolean, afterWord: boolean): State => {
    return { threads, atStart, afterWord, next: new Map(), endMatches: undefined }
  }
  let first = makeState([0], true, false)

  /** Follows splits and assertions from the state's threads; the set instructions reached, or 'match'. */
  const close = (state: State, next: number | undefined): number[] | 'match' => {
    generation += 1
    const reached: number[] = []
    const pending = [...state.threads]
    const nextIsWord = next !== undefined && isWord(next)
    while (pending.length > 0) {
      const index = pending.pop() as number
      if (seen[index] === generation) continue
      seen[index] = generation
      const instruction = program[index] as Instruction
      if (instruction.op === 'match') return 'match'
      if (instruction.op === 'set') reached.push(index)
      else if (instruction.op === 'split') pending.push(...instruction.to)
      else if (holds(instruction.assertion, state, next, nextIsWord)) pending.push(index + 1)
    }
    return reached
  }

  const step = (state: State, codePoint: number, mayCache: boolean): State | 'match' => {
    const reached = close(state, codePoint)
    if (reached === 'match') return 'match'
    // A match may begin at every position, so the first instruction is always among the threads.
    const threads = [0]
    for (const index of reached) {
      const instruction = program[index] as Instruction
      if (instruction.op === 'set' && instruction.set.has(codePoint)) threads.push(index + 1)
    }
    const afterWord = isWord(codePoint)
    if (!mayCache) return makeState(threads, false, afterWord)
    threads.sort((a, b) => a - b)
    const key = `${afterWord ? 'w' : '-'}${threads.join(' ')}`
    let target = states.get(key)
    if (target === undefined) {
      target = makeState(threads, false, afterWord)
      states.set(key, target)
      cachedThreads += threads.length
    }
    state.next.set(codePoint, target)
    cachedTransitions += 1
    return target
  }

  return (text) => {
    if (cachedThreads > MAX_CACHED_THREADS || cachedTransitions > MAX_CACHED_TRANSITIONS) {
      states.clear()
      first = makeState([0], true, false)
      cachedThreads = 0
      cachedTransitions = 0
    }
    if (generation > 0xf000_0000) {
      seen.fill(0)
      generation = 0
    }
    let state = first
    for (let at = 0; at < text.length; ) {
      const codePoint = text.codePointAt(at) as number
      at += codePoint > 0xffff ? 2 : 1
      let next = state.next.get(codePoint)
      if (next === undefined) {
        const mayCache = cachedThreads <= MAX_CACHED_THREADS && cachedTransitions <= MAX_CACHED_TRANSITIONS
        next = step(state, codePoint, mayCache)
        if (next === 'match' && mayCache) {
          state.next.set(codePoint, 'match')
          cachedTransitions += 1
        }
      }
      if (next === 'match') return true
      state = next
    }
    state.endMatches ??= close(state, undefined) === 'match'
    return state.endMatches
  }
}

function holds(assertion: Assertion, state: State, next: number | undefined, nextIsWord: boolean): boolean {
  switch (assertion) {
    case 'start':
      return state.atStart
    case 'end':
      return next === undefined
    case 'boundary':
      return state.afterWord !== nextIsWord
    case 'inside':
      return state.afterWord === nextIsWord
  }
}

function isWord(codePoint: number): boolean {
  return (
    (codePoint >= 97 && codePoint <= 122) ||
    (codePoint >= 65 && codePoint <= 90) ||
    (codePoint >= 48 && codePoint <= 57) ||
    codePoint === 95
  )
}
