import type { EventKind, RunEvent } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { openDisplay, type Terminal } from './display.ts'

const ESCAPE = '\u001b'
/** Cursor up, erase, text; a carriage return changes nothing here. */
const CODES = new RegExp(`${ESCAPE}\\[(\\d+)A|(${ESCAPE}\\[[KJ])|(\\n|[^${ESCAPE}\\n\\r]+)|\\r`, 'g')

let seq = 0

function event(kind: EventKind, nodeKey?: string, payload: RunEvent['payload'] = {}): RunEvent {
  seq += 1
  const node = nodeKey === undefined ? {} : { node_key: nodeKey }
  return { id: `${seq}`, seq, kind, run_id: 'r', root_run_id: 'r', timestamp: '2026-11-21T12:00:00Z', payload, ...node }
}

/** What stands on the screen after everything that was written: enough of a terminal to tell. */
function screen(written: string): string[] {
  const rows: string[] = ['']
  let at = 0
  for (const [, up, erase, text] of written.matchAll(CODES)) {
    if (up !== undefined) at = Math.max(0, at - Number(up))
    else if (erase === '\u001b[J') rows.splice(at, rows.length - at, '')
    else if (text === '\n') {
      at += 1
      rows[at] ??= ''
    } else if (text !== undefined) rows[at] = text
  }
  return rows.filter((row) => row !== '')
}

function watch(
  events: RunEvent[],
  { steps = [{ id: 'render', name: 'Draw' }], terminal = {} as Partial<Terminal> } = {},
) {
  const said: string[] = []
  let written = ''
  const display = openDisplay({
    say: (line, lead = '') => said.push(lead + line),
    steps: async () => steps,
    cost: async () => '$0.05 of about $0.06',
    terminal: {
      isLive: true,
      hasColour: false,
      columns: () => 80,
      rows: () => 24,
      write: (text) => void (written += text),
      ...terminal,
    },
  })
  for (const one of events) display.hear(one)
  return { display, said, shown: () => screen(written), written: () => written }
}

describe('on a terminal', () => {
  it('each step has a line, with what became of it and the cost, and nothing else is said', async () => {
    const steps = ['render', 'cut', 'save', 'late'].map((id) => ({ id, name: `Does ${id}` }))
    const { display, said, shown } = watch(
      [
        event('workflow.run.started'),
        event('workflow.node.started', 'render'),
        event('workflow.node.completed', 'render', { simulated: true }),
        event('workflow.node.started', 'cut'),
        event('workflow.node.failed', 'cut', { error: { code: 'x', message: 'The model said no.' } }),
        event('workflow.node.skipped', 'save'),
        event('workflow.run.failed'),
      ],
      { steps },
    )
    await display.close()
    expect(said).toEqual([])
    expect(shown()).toEqual([
      expect.stringMatching(/^ ✓ render {2}Does render +0\.\d s {2}\(simulated\)$/),
      expect.stringMatching(/^ ✗ cut {5}Does cut +0\.\d s {2}The model said no\.$/),
      expect.stringMatching(/^ – save {4}Does save/),
      expect.stringMatching(/^ · late {4}Does late/),
      expect.stringMatching(/^ {3}failed · 0\.\d s · cost \$0\.05 of about \$0\.06$/),
    ])
  })

  it('no line is wider than the terminal, whatever a step is called or says', async () => {
    const long = '漢字とemoji👩‍🚀'.repeat(20)
    const { display, shown } = watch(
      [event('workflow.node.failed', 'render', { error: { code: 'x', message: `${long}\n\u001b[31m` } })],
      { steps: [{ id: 'render', name: long }], terminal: { columns: () => 40 } },
    )
    await display.close()
    expect(shown()).toHaveLength(2)
    for (const row of shown()) expect(row.length).toBeLessThan(60)
    expect(shown()[0]).toContain('…')
  })

  it('items of a step are counted on its line', async () => {
    const { display, shown } = watch([
      event('workflow.node.started', 'render/0'),
      event('workflow.node.completed', 'render/0'),
      event('workflow.node.started', 'render/1'),
    ])
    await display.close()
    expect(shown()[0]).toMatch(/ 1 of 2$/)
  })

  it('there is colour, unless it was asked for none', async () => {
    const done = [event('workflow.node.completed', 'render')]
    const coloured = watch(done, { terminal: { hasColour: true } })
    await coloured.display.close()
    expect(coloured.written()).toContain('\u001b[32m✓')
    const plain = watch(done)
    await plain.display.close()
    expect(plain.written()).not.toContain('\u001b[32m')
  })
})

describe('without a terminal', () => {
  it('each event is one line, and nothing is drawn', async () => {
    const { display, said, written } = watch(
      [event('workflow.run.started'), event('workflow.node.completed', 'render', { simulated: true })],
      { terminal: { isLive: false } },
    )
    await display.close()
    expect(written()).toBe('')
    expect(said).toEqual([
      expect.stringMatching(/^ +0\.\d s {2}run\.started$/),
      expect.stringMatching(/^ +0\.\d s {2}node\.completed {5}render {2}\(simulated\)$/),
    ])
  })
})
