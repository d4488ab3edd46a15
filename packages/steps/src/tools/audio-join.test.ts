import { describe, expect, it } from 'vitest'
import { readWav, secondsOf } from '../sound.ts'
import { aTone } from '../testing/tone.ts'
import { createToolBench } from '../testing/tool-bench.ts'
import { audioJoin } from './audio-join.ts'

describe('audio.join', () => {
  it('joins files and outputs of steps to one WAV, as long as the parts and their pauses', async () => {
    const bench = createToolBench()
    const [first, second] = [aTone(0.5), aTone(1.3)]
    const parts = [await bench.put(first, 'audio/wav'), { artifact: await bench.put(second, 'audio/wav'), data: {} }]
    const { artifact, duration_ms } = await bench.run(audioJoin, { parts, pauseMs: 400 })
    const joined = readWav(bench.fileOf(artifact).bytes)
    const expected = [first, second].reduce((sum, wav) => sum + (wav.length - 44) / 48_000, 0.4)
    expect(joined && secondsOf(joined)).toBeCloseTo(expected, 3)
    expect(duration_ms).toBe(Math.round(expected * 1000))
    expect(bench.fileOf(artifact).record.durationMs).toBe(duration_ms)
  })

  it('names the part that is no WAV, and what to do', async () => {
    const bench = createToolBench()
    const text = await bench.put(Buffer.from('not a sound'), 'text/plain')
    const wav = await bench.put(aTone(0.5), 'audio/wav')
    await expect(bench.run(audioJoin, { parts: [wav, text] })).rejects.toMatchObject({
      failureClass: 'invalid',
      message: expect.stringMatching(/args\.parts\[1\].*WAV/),
    })
  })

  it('refuses more than ten minutes', async () => {
    const bench = createToolBench()
    const long = await bench.put(aTone(120), 'audio/wav')
    await expect(bench.run(audioJoin, { parts: Array.from({ length: 8 }, () => long) })).rejects.toMatchObject({
      failureClass: 'invalid',
      message: expect.stringContaining('10 minutes'),
    })
  })
})
