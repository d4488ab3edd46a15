import { describe, expect, it } from 'vitest'
import { readLines } from './lines.ts'

async function linesOf(chunks: string[], limitBytes = 10): Promise<[number, string | null][]> {
  async function* body() {
    for (const chunk of chunks) yield Buffer.from(chunk)
  }
  const lines: [number, string | null][] = []
  for await (const { number, bytes } of readLines(body(), limitBytes))
    lines.push([number, bytes === null ? null : Buffer.from(bytes).toString()])
  return lines
}

describe('a body of lines', () => {
  it('is the same however it is cut into chunks', async () => {
    const text = 'one\ntwo\r\nth\u00fcr\n'
    const bytes = Buffer.from(text)
    for (let at = 0; at <= bytes.byteLength; at += 1) {
      async function* body() {
        yield bytes.subarray(0, at)
        yield bytes.subarray(at)
      }
      const lines: string[] = []
      for await (const line of readLines(body(), 10))
        lines.push(`${line.number} ${Buffer.from(line.bytes ?? []).toString()}`)
      expect(lines).toEqual(['1 one', '2 two', '3 thür'])
    }
  })

  it('counts empty lines and leaves them out', async () => {
    expect(await linesOf(['\n\na\n \t\r\n\nb'])).toEqual([
      [3, 'a'],
      [6, 'b'],
    ])
  })

  it('counts a line of nothing but a byte order mark as empty', async () => {
    expect(await linesOf(['\ufeff\r\na\n\ufeff \nb\n\ufeff'])).toEqual([
      [2, 'a'],
      [4, 'b'],
    ])
  })

  it('ends with or without a line end', async () => {
    expect(await linesOf(['a\n'])).toEqual(await linesOf(['a']))
    expect(await linesOf([])).toEqual([])
  })

  it('bounds each line by itself, its end not counted', async () => {
    expect(await linesOf(['0123456789\n', '0123456789\r\n', '0123', '4567', '89x\n', 'b'])).toEqual([
      [1, '0123456789'],
      [2, '0123456789'],
      [3, null],
      [4, 'b'],
    ])
    expect(await linesOf(['0123456789x'])).toEqual([[1, null]])
  })
})
