import { describe, expect, it } from 'vitest'
import { SAMPLE_RATE_HZ, speak } from './speak.ts'

const sentence = 'The keeper climbed the stairs every evening and lit the lamp before the ships came home.'
const durationS = (wav: Buffer): number => (wav.length - 44) / 2 / SAMPLE_RATE_HZ
const samplesOf = (wav: Buffer): Int16Array =>
  new Int16Array(wav.buffer.slice(wav.byteOffset + 44, wav.byteOffset + wav.length))

describe('speak', () => {
  it('writes a mono 16-bit PCM WAV at 24 kHz whose header agrees with its length', () => {
    const wav = speak({ text: sentence })
    expect(wav.toString('latin1', 0, 4)).toBe('RIFF')
    expect(wav.readUInt32LE(4)).toBe(wav.length - 8)
    expect(wav.toString('latin1', 8, 16)).toBe('WAVEfmt ')
    expect([wav.readUInt32LE(16), wav.readUInt16LE(20), wav.readUInt16LE(22), wav.readUInt32LE(24)]).toEqual([
      16, 1, 1, 24_000,
    ])
    expect([wav.readUInt32LE(28), wav.readUInt16LE(32), wav.readUInt16LE(34)]).toEqual([48_000, 2, 16])
    expect(wav.toString('latin1', 36, 40)).toBe('data')
    expect(wav.readUInt32LE(40)).toBe(wav.length - 44)
  })

  it('speaks about 150 words a minute', () => {
    const words = 16 * 12
    for (const voice of ['alloy', 'nova', 'echo', 'onyx']) {
      const perMinute =
        (words / durationS(speak({ text: Array.from({ length: 12 }, () => sentence).join(' '), voice }))) * 60
      expect(perMinute, voice).toBeGreaterThan(125)
      expect(perMinute, voice).toBeLessThan(180)
    }
  })

  it('is the same for the same request and differs by text, voice and seed', () => {
    const wav = speak({ text: sentence })
    expect(speak({ text: sentence }).equals(wav)).toBe(true)
    const others = [
      speak({ text: `${sentence} Again.` }),
      speak({ text: sentence, voice: 'nova' }),
      speak({ text: sentence, seed: 1 }),
    ]
    for (const other of others) expect(other.equals(wav)).toBe(false)
  })

  it('is audible, never clips and is silent at both ends', () => {
    const samples = samplesOf(speak({ text: sentence }))
    let [peak, energy] = [0, 0]
    for (const sample of samples) {
      peak = Math.max(peak, Math.abs(sample))
      energy += sample * sample
    }
    expect(peak).toBeGreaterThan(3_000)
    expect(peak).toBeLessThan(32_000)
    expect(Math.sqrt(energy / samples.length)).toBeGreaterThan(600)
    expect([samples[0], samples.at(-1)]).toEqual([0, 0])
  })

  it('stays bounded for empty and for endless text', () => {
    expect(durationS(speak({ text: '' }))).toBeCloseTo(0.2, 1)
    expect(speak({ text: 'word '.repeat(100_000) }).length).toBeLessThan(40_000_000)
  })
})
