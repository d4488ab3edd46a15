import { describe, expect, it } from 'vitest'
import { joinSounds, loudness, readWav, secondsOf, type Sound, wavFacts, writeWav } from './sound.ts'

const tone = (seconds: number, sampleRateHz = 24_000, channels = 1): Sound => ({
  sampleRateHz,
  channels,
  samples: Int16Array.from({ length: Math.round(seconds * sampleRateHz) * channels }, (_, i) =>
    Math.round(8_000 * Math.sin((2 * Math.PI * 220 * Math.floor(i / channels)) / sampleRateHz)),
  ),
})

/** A WAV of these samples in another format: its `fmt ` chunk and data as given, a foreign chunk in between. */
function wavOf(format: number, bits: number, data: Buffer): Buffer {
  const head = Buffer.alloc(44 + 12)
  head.write('RIFF', 0, 'latin1')
  head.writeUInt32LE(head.length - 8 + data.length, 4)
  head.write('WAVEfmt ', 8, 'latin1')
  head.writeUInt32LE(16, 16)
  head.writeUInt16LE(format, 20)
  head.writeUInt16LE(1, 22)
  head.writeUInt32LE(8_000, 24)
  head.writeUInt32LE((8_000 * bits) / 8, 28)
  head.writeUInt16LE(bits / 8, 32)
  head.writeUInt16LE(bits, 34)
  head.write('LIST', 36, 'latin1')
  // An odd size: the chunk is padded to an even one.
  head.writeUInt32LE(3, 40)
  head.write('data', 48, 'latin1')
  head.writeUInt32LE(data.length, 52)
  return Buffer.concat([head, data])
}

describe('WAV files', () => {
  it('are read back as they were written', () => {
    for (const sound of [tone(0.5), tone(0.25, 48_000, 2)]) expect(readWav(writeWav(sound))).toEqual(sound)
  })

  it('have the length of their samples, whatever other chunks they hold', () => {
    expect(wavFacts(wavOf(1, 16, Buffer.alloc(16_000)))?.durationMs).toBe(1000)
  })

  it('are read from every plain sample format as the same sound', () => {
    const formats: [format: number, bits: number, data: Buffer][] = [
      [1, 8, Buffer.from([192])],
      [1, 16, Buffer.from([0, 0x40])],
      [1, 24, Buffer.from([0, 0, 0x40])],
      [1, 32, Buffer.from([0, 0, 0, 0x40])],
      [3, 32, Buffer.from(new Float32Array([0.5]).buffer)],
    ]
    for (const [format, bits, data] of formats) {
      expect(readWav(wavOf(format, bits, data))?.samples, `${format}/${bits}`).toEqual(Int16Array.of(16_384))
    }
  })

  it('of unknown length, as streams are written, reach to the end of the file', () => {
    const wav = writeWav(tone(1))
    wav.writeUInt32LE(0xffff_ffff, 4)
    wav.writeUInt32LE(0xffff_ffff, 40)
    expect(wavFacts(wav)?.durationMs).toBe(1000)
  })

  it('are refused when cut off, empty, compressed or of many channels', () => {
    const wav = writeWav(tone(1))
    expect(wavFacts(wav.subarray(0, wav.length - 2))).toBeNull()
    expect(wavFacts(wav.subarray(0, 44))).toBeNull()
    expect(readWav(wavOf(2, 16, Buffer.alloc(64)))).toBeNull()
    expect(readWav(writeWav(tone(0.1, 24_000, 6)))).toBeNull()
    expect(wavFacts(Buffer.from('RIFF'))).toBeNull()
  })
})

describe('joinSounds', () => {
  it('is as long as its parts and the pauses between them, at the best of their rates', () => {
    const joined = joinSounds([tone(1, 16_000), tone(0.5, 48_000, 2), tone(0.5, 24_000)], 250)
    expect([joined.sampleRateHz, joined.channels]).toEqual([48_000, 2])
    expect(secondsOf(joined)).toBeCloseTo(2.5, 4)
  })

  it('is silent in the pauses and loud in the parts', () => {
    const levels = loudness(joinSounds([tone(1), tone(1)], 1000), 3)
    expect(levels[1]).toBe(0)
    expect(levels[0]).toBeGreaterThan(0.9)
    expect(levels[2]).toBeGreaterThan(0.9)
  })

  it('keeps the pitch of a part whose rate it changes', () => {
    const { samples } = joinSounds([tone(1, 16_000), tone(0.01, 48_000)], 0)
    const crossings = samples
      .subarray(0, 48_000)
      .reduce((count, sample, i, all) => count + (sample >= 0 && (all[i - 1] ?? 0) < 0 ? 1 : 0), 0)
    expect(crossings).toBeGreaterThan(216)
    expect(crossings).toBeLessThan(224)
  })
})
