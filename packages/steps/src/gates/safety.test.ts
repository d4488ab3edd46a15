import type { StepEvidence, Verdict } from '@fabrique/engine'
import { anArtifact } from '@fabrique/engine/testing'
import type { JsonValue } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { safety } from './safety.ts'

const BAD = 'the bad sentence'
const LENGTH = 100_000

/** A judge that flags what it is shown of the bad sentence; answers the verdict and what it was asked. */
async function judged(
  output: JsonValue,
  pictures = 0,
): Promise<{ verdict: Verdict; contents: string[]; shown: string[] }> {
  const contents: string[] = []
  const shown: string[] = []
  const artifacts = Array.from({ length: pictures }, (_, index) => ({
    record: anArtifact(`picture-${index}`, { mimeType: 'image/png' }),
    bytes: new Uint8Array(),
  }))
  const ask = async ({ content }: { content: string }, files: object) => {
    contents.push(content)
    shown.push(...Object.values(files).map(({ record }: (typeof artifacts)[number]) => record.id))
    return { output: { flagged: content.includes(BAD), categories: ['bad'] } }
  }
  if (safety.stands !== 'after-step') throw new Error('it judges no step')
  const verdict = await safety.judge({ output, artifacts, ask } as unknown as StepEvidence)
  return { verdict, contents, shown }
}

describe('the safety gate', () => {
  it('finds what is bad wherever in a long text it is, also across the ends of its pieces', async () => {
    const [first = '', second = ''] = (await judged({ text: '.'.repeat(LENGTH) })).contents
    for (const at of [0, first.length - 5, second.length + first.length - 1_005, LENGTH - BAD.length]) {
      const text = `${'.'.repeat(at)}${BAD}`.padEnd(LENGTH, '.')
      expect((await judged({ text })).verdict, `at ${at}`).toEqual({
        passed: false,
        detail: 'the content was flagged: bad',
      })
    }
    expect((await judged({ text: '.'.repeat(LENGTH) })).verdict).toEqual({ passed: true })
  })

  it('asks once about what fits into one piece, and stops at the first that does not pass', async () => {
    expect((await judged('short')).contents).toEqual(['short'])
    expect((await judged(BAD + '.'.repeat(LENGTH))).contents).toHaveLength(1)
  })

  it('sees every picture, a few at a time', async () => {
    const { shown, contents } = await judged({}, 9)
    expect(new Set(shown).size).toBe(9)
    expect(contents).toHaveLength(3)
  })

  it('is not talked out of a text by members that make it look like a file', async () => {
    expect((await judged({ id: 'x', sha256: 'y', text: BAD })).verdict.passed).toBe(false)
  })

  it('does not pass what is more than anybody can look at', async () => {
    const { verdict, contents } = await judged('.'.repeat(4_000_000))
    expect([verdict.passed, contents]).toEqual([false, []])
  })
})
