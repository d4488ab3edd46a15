import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Move, MOVES, PHASES } from '@fabrique/engine'
import { describe, expect, it } from 'vitest'

const CHANGED = {
  status: 'status',
  worker: 'worker',
  fence: 'fence',
  epoch: 'epoch',
  lostLeases: 'lost leases',
} as const

/** The tables of ARCHITECTURE.md, as the code has them. */
function phaseTables(): string {
  const phases = Object.entries(PHASES).map(([phase, meaning]) => `| \`${phase}\` | ${meaning} |`)
  const moves = Object.entries<Move>(MOVES).map(([name, { from, to, by, when, only, sets }]) => {
    const set = Object.entries(CHANGED)
      .filter(([field]) => field in sets)
      .map(([field, words]) => `${words} ${spelled(sets[field as keyof typeof CHANGED])}`)
    const due = 'dueInMs' in sets ? [`due ${dueIn(sets.dueInMs)}`] : []
    const within = sets.dueWithinMs === undefined ? [] : [`due within ${sets.dueWithinMs / 1000} s`]
    const later = sets.dueLaterMs === undefined ? [] : ['due later as given']
    const path = `${from.join(', ') || '–'} → ${to}`
    return `| \`${name}\` | ${path} | ${by} | ${when} | ${only.join(', ')} | ${[...set, ...due, ...within, ...later].join(', ')} |`
  })
  return [
    '| phase | means |',
    '|---|---|',
    ...phases,
    '',
    '| move | from → to | by | when | only | sets |',
    '|---|---|---|---|---|---|',
    ...moves,
  ].join('\n')
}

function spelled(value: string | number | null | undefined): string {
  if (value === 'next') return '+ 1'
  return value === null ? 'none' : String(value)
}

function dueIn(ms: unknown): string {
  if (ms === null) return 'never'
  if (ms === 0) return 'now'
  return typeof ms === 'number' ? `in ${ms / 1000} s` : 'as given'
}

describe('ARCHITECTURE.md', () => {
  it('prints the phases of a run, and who moves it between them, as the code has them', () => {
    const text = readFileSync(join(import.meta.dirname, '..', 'ARCHITECTURE.md'), 'utf8')
    expect(text).toContain(phaseTables())
  })
})
