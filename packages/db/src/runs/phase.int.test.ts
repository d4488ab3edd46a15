import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Move, MOVES, PHASES, phaseOf } from '@fabrique/engine'
import { aNewRun, createSequentialIds } from '@fabrique/engine/testing'
import { RUN_STATUSES } from '@fabrique/schema'
import { sql } from 'kysely'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createTestDb } from '../testing.ts'
import { createRunStore } from './run-store.ts'

describe('the phase of a run', () => {
  it('is the same in the record and in the engine, for every status, with and without slots and worker', async () => {
    const { db, drop } = await createTestDb()
    onTestFinished(drop)
    const ids = createSequentialIds()
    const store = createRunStore(db, ids)
    const run = aNewRun(ids.next())
    await store.accept(run)
    const seen = new Set<string>()
    for (const status of RUN_STATUSES) {
      for (const worker of [null, 'w1']) {
        for (const slots of [null, 2]) {
          const { rows } = await sql<{ phase: string }>`update runs
            set status = ${status}, worker = ${worker}, slots = ${slots} where id = ${run.id} returning phase`.execute(
            db.kysely,
          )
          expect(rows).toEqual([{ phase: phaseOf({ status, worker, hasSlots: slots !== null }) }])
          seen.add(rows[0]?.phase ?? '')
        }
      }
    }
    expect([...seen].toSorted()).toEqual(Object.keys(PHASES).toSorted())
  })

  it('is left by no move once the run has ended, and every other phase is entered and left by some', () => {
    const moves = Object.values<Move>(MOVES)
    expect(moves.filter(({ from }) => from.includes('ended'))).toEqual([])
    for (const phase of Object.keys(PHASES)) {
      const enters = moves.some(({ from, to }) => to === phase && !from.some((one) => one === to))
      // A bundle is accepted as one.
      expect(enters || phase === 'joining', phase).toBe(true)
      expect(moves.some(({ from, to }) => from.some((one) => one === phase) && to !== phase) || phase === 'ended').toBe(
        true,
      )
    }
  })
})

describe('updates of runs', () => {
  it('set status, worker, fence, epoch and due time only by a move of the table', () => {
    const folder = join(import.meta.dirname, '..')
    const files = globSync('**/*.ts', { cwd: folder }).filter((file) => !file.endsWith('.test.ts'))
    let found = 0
    for (const file of files) {
      const text = readFileSync(join(folder, file), 'utf8')
      for (const [, changes = ''] of text.matchAll(/update runs(?: r)? set([\s\S]*?)(?:where|from )/g)) {
        found += 1
        const written = changes.replaceAll(/\$\{(?:[^{}]|\{[^}]*\})*\}/g, '')
        expect(written, file).not.toMatch(/(?:^|,)\s*(?:status|worker|fence|epoch|lost_leases|due_at) =/)
      }
      for (const [, changes = ''] of text.matchAll(/updateTable\('runs'\)\s*\.set\(([\s\S]*?)\)\n/g)) {
        expect(changes, file).not.toMatch(/\b(?:status|worker|fence|epoch|lost_leases|due_at)\b/)
      }
    }
    expect(found).toBeGreaterThan(8)
  })
})
