// How far a run is, while it goes on: on a terminal a block of steps that is redrawn in place, elsewhere a line per event.
// Hides the terminal: its width and height, cursor movements, colours, and when a redraw is due.
import { styleText } from 'node:util'
import { stepIdOf } from '@fabrique/engine/unit-key'
import { type JsonValue, onOneLine, type RunEvent } from '@fabrique/schema'
import stringWidth from 'string-width'
import type { Backend } from './backend.ts'

export interface DisplayOptions {
  say(line: string, lead?: string): void
  /** The steps that will be gone through; asked once, and only for a terminal. */
  steps(): ReturnType<Backend['steps']>
  /** What was spent until now, in words; asked after steps have ended, and only for a terminal. */
  cost(): Promise<string>
  terminal?: Terminal
}

/** The stream that is drawn on. Default: stderr, and not live where it is no terminal, a dumb one, or CI. */
export interface Terminal {
  isLive: boolean
  hasColour: boolean
  columns(): number
  rows(): number
  write(text: string): void
}

export interface Display {
  hear(event: RunEvent): void
  /** Leaves the last state on the screen, and the cursor below it. */
  close(): Promise<void>
}

type Colour = 'green' | 'red' | 'yellow' | 'cyan' | 'dim'
type Mark = 'waiting' | 'running' | 'done' | 'failed' | 'skipped' | 'retrying' | 'held'

interface Line {
  key: string
  name: string
  mark: Mark
  note: string
  startedAtMs: number | undefined
  tookMs: number | undefined
  /** Items of a step that goes through a list. */
  items: Map<string, Mark>
}

const REDRAW_MS = 100
const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏']
/** What runs has a turning sign while it is watched. */
const LOOKS: Record<Mark, [sign: string, colour?: Colour]> = {
  waiting: ['·'],
  running: ['·', 'cyan'],
  done: ['✓', 'green'],
  failed: ['✗', 'red'],
  skipped: ['–'],
  retrying: ['↻', 'yellow'],
  held: ['!', 'yellow'],
}
const MARKS: Record<string, Mark> = {
  'workflow.node.started': 'running',
  'workflow.node.progress': 'running',
  'workflow.node.completed': 'done',
  'workflow.node.failed': 'failed',
  'workflow.node.skipped': 'skipped',
  'workflow.node.retrying': 'retrying',
  // Whole runs have a line where several are shown together.
  'workflow.run.started': 'running',
  'workflow.run.waiting': 'held',
  'workflow.run.completed': 'done',
  'workflow.run.failed': 'failed',
  'workflow.run.cancelled': 'failed',
}
const NAME_COLUMNS_MAX = 40

/** An event on one line: what happened, to which step, and what there is to know of it. */
export function eventLine(event: RunEvent): string {
  const name = event.kind.replace(/^workflow\./, '').padEnd(18)
  return `${name} ${[event.node_key, noteOn(event)].filter(Boolean).join('  ')}`.trimEnd()
}

/** What is worth saying of an event besides its kind; often nothing. */
function noteOn({ kind, payload }: RunEvent): string {
  if (kind === 'workflow.artifact.created') return `${words(payload.role)} (${words(payload.mime_type)})`
  if (kind === 'workflow.run.waiting') return 'waits for review'
  if (kind === 'workflow.run.cancelled') return 'cancelled'
  const error = payload.error
  if (typeof error === 'object' && error !== null && 'message' in error) return words(error.message)
  return payload.simulated === true && kind.endsWith('.completed') ? '(simulated)' : ''
}

function words(value: JsonValue | undefined): string {
  return typeof value === 'string' ? value : ''
}

/** A display that has drawn nothing yet. */
export function openDisplay(options: DisplayOptions): Display {
  const terminal = options.terminal ?? stderrTerminal()
  return terminal.isLive ? liveDisplay(options, terminal) : lineDisplay(options, terminal)
}

/** Each event as one line with the seconds since the display was opened. */
function lineDisplay({ say }: DisplayOptions, { hasColour }: Terminal): Display {
  const startedAt = performance.now()
  return {
    hear(event) {
      const seconds = `${((performance.now() - startedAt) / 1000).toFixed(1).padStart(6)} s`
      say(`  ${eventLine(event)}`, hasColour ? paint(seconds, 'dim') : seconds)
    },
    close: async () => {},
  }
}

function liveDisplay({ steps, cost }: DisplayOptions, terminal: Terminal): Display {
  const openedAt = performance.now()
  const lines = new Map<string, Line>()
  let status = ''
  let spent = ''
  let drawn = 0
  let frame = 0
  let asking: Promise<void> | undefined

  // Events follow when the steps are known: only they tell an item of a step from a node of its own.
  let noted = steps()
    .then((outlines) => {
      for (const { id, name = '' } of outlines) lines.set(id, { ...newLine(id), name })
    })
    .catch(() => {})

  /** The line that a node belongs to: its own, or that of the step whose item it is. */
  function lineOf(key: string): { line: Line; item: string | undefined } {
    // In a set each key follows its run's name; else an item follows its step's.
    const [run = key] = key.split('/', 1)
    const owner = lines.has(run) ? run : stepIdOf(key)
    const parent = key === owner ? undefined : lines.get(owner)
    if (parent !== undefined) return { line: parent, item: key }
    const line = lines.get(key) ?? newLine(key)
    lines.set(key, line)
    return { line, item: undefined }
  }

  function askCost(): void {
    // One question at a time; the last answer is the one that counts.
    asking ??= cost()
      .then((answer) => void (spent = answer))
      .catch(() => {})
      .finally(() => {
        asking = undefined
      })
  }

  function note(event: RunEvent, atMs: number): void {
    const mark = MARKS[event.kind]
    if (event.node_key === undefined) {
      if (event.kind.startsWith('workflow.run.')) status = event.kind.slice('workflow.run.'.length)
      return
    }
    if (mark === undefined) return
    const { line, item } = lineOf(event.node_key)
    line.startedAtMs ??= atMs
    if (item === undefined) {
      line.mark = mark
      line.note = noteOn(event)
      if (mark !== 'running' && mark !== 'retrying') line.tookMs = atMs - line.startedAtMs
    } else {
      line.items.set(item, mark)
      if (line.mark === 'waiting' || line.mark === 'held') line.mark = 'running'
      if (mark === 'failed') line.note = noteOn(event)
    }
    if (mark === 'done' || mark === 'failed') askCost()
  }

  function block(isLast: boolean): string[] {
    const width = Math.max(20, terminal.columns()) - 1
    const room = Math.max(3, terminal.rows() - 4)
    const all = [...lines.values()]
    // Where not everything fits, what is over is the least interesting.
    const quiet = new Set(all.filter(({ mark }) => mark === 'done' || mark === 'skipped').slice(0, all.length - room))
    const shown = (isLast ? all : all.filter((line) => !quiet.has(line))).slice(0, isLast ? all.length : room)
    const hidden = all.length - shown.length
    const keyWidth = Math.min(24, Math.max(0, ...shown.map(({ key }) => stringWidth(key))))
    const nameWidth = Math.min(NAME_COLUMNS_MAX, Math.max(0, ...shown.map(({ name }) => stringWidth(name))))
    const rows = shown.map((line) => {
      const [still, colour] = LOOKS[line.mark]
      const sign = line.mark === 'running' && !isLast ? (FRAMES[frame % FRAMES.length] ?? still) : still
      const took = line.tookMs ?? (line.startedAtMs === undefined ? undefined : performance.now() - line.startedAtMs)
      const cells = [fit(line.key, keyWidth), ...(nameWidth > 0 ? [fit(line.name, nameWidth)] : []), clock(took)]
      const text = clip(`${cells.join('  ')}  ${[itemNote(line), line.note].filter(Boolean).join('  ')}`, width - 3)
      return ` ${colour !== undefined && terminal.hasColour ? paint(sign, colour) : sign} ${text.trimEnd()}`
    })
    if (hidden > 0) rows.push(clip(`   … and ${hidden} more`, width))
    const total = clock(performance.now() - openedAt).trim()
    rows.push(clip(`   ${[status, total, spent === '' ? '' : `cost ${spent}`].filter(Boolean).join(' · ')}`, width))
    return rows
  }

  function draw(isLast = false): void {
    const rows = block(isLast)
    const back = drawn === 0 ? '' : `\u001b[${drawn}A`
    // Line by line over what stands there, then nothing below: no flicker, and nothing left of a longer block.
    terminal.write(`${back}\r${rows.map((row) => `${row}\u001b[K\n`).join('')}\u001b[J`)
    drawn = rows.length
  }

  const timer = setInterval(() => {
    frame += 1
    draw()
  }, REDRAW_MS)
  timer.unref()

  return {
    hear(event) {
      const atMs = performance.now()
      noted = noted.then(() => note(event, atMs))
    },
    async close() {
      clearInterval(timer)
      await noted
      await asking
      askCost()
      await asking
      draw(true)
    },
  }
}

function newLine(key: string): Line {
  return { key, name: '', mark: 'waiting', note: '', startedAtMs: undefined, tookMs: undefined, items: new Map() }
}

function itemNote({ items }: Line): string {
  if (items.size === 0) return ''
  const over = [...items.values()].filter((mark) => mark !== 'running' && mark !== 'retrying').length
  return `${over} of ${items.size}`
}

function clock(ms: number | undefined): string {
  if (ms === undefined) return ''.padStart(7)
  const seconds = ms / 1000
  if (seconds < 100) return `${seconds.toFixed(1)} s`.padStart(7)
  return `${Math.floor(seconds / 60)}m${String(Math.floor(seconds % 60)).padStart(2, '0')}s`.padStart(7)
}

/** Exactly that many columns of a terminal, where pictures and East Asian characters take two. */
export function fit(text: string, width: number): string {
  const clipped = clip(text, width)
  return clipped + ' '.repeat(Math.max(0, width - stringWidth(clipped)))
}

/** At most that many columns, with an ellipsis where something is left out; controls become spaces. */
export function clip(text: string, width: number): string {
  const plain = onOneLine(text)
  if (stringWidth(plain) <= width) return plain
  let clipped = ''
  let left = width - 1
  for (const { segment } of new Intl.Segmenter().segment(plain)) {
    left -= stringWidth(segment)
    if (left < 0) break
    clipped += segment
  }
  return `${clipped}…`
}

function paint(text: string, colour: Colour): string {
  return styleText(colour, text, { validateStream: false })
}

function stderrTerminal(): Terminal {
  const { stderr, env } = process
  const isTerminal = stderr.isTTY === true
  return {
    isLive: isTerminal && env.TERM !== 'dumb' && !env.CI,
    hasColour: isTerminal && !env.NO_COLOR,
    columns: () => stderr.columns || 80,
    rows: () => stderr.rows || 24,
    write: (text) => void stderr.write(text),
  }
}
