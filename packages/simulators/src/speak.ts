/**
 * The offline twin of a speech model: hums a text, one soft voiced syllable after another, as a WAV file.
 * It hides the voice: a glottal tone through vowel formants with a melody that falls at the end of a sentence.
 */
import { createChance, hashText } from './chance.ts'

export interface SpeechRequest {
  readonly text: string
  /** Any name; each has its own pitch and tempo. Default `alloy`. */
  readonly voice?: string
  /** Another seed gives another melody. Default 0. */
  readonly seed?: number
}

/** Samples a second of `speak`'s WAV. */
export const SAMPLE_RATE_HZ = 24_000

/** Spoken text is cut here: at about 150 words a minute this is over ten minutes, or 30 MB of WAV. */
const MAX_WORDS = 1_600
const HEADER_BYTES = 44

/** Points of one period of a waveform. */
const WAVE_POINTS = 1024

/** The first two formants, in hertz, of a, e, i, o, u. */
const vowels: Readonly<Record<string, readonly [first: number, second: number]>> = {
  a: [760, 1250],
  e: [520, 1850],
  i: [320, 2250],
  o: [500, 900],
  u: [350, 780],
  y: [330, 1950],
}

interface Syllable {
  readonly formants: readonly [first: number, second: number]
  readonly startS: number
  readonly durationS: number
  readonly pitchHz: number
  readonly loudness: number
}

/**
 * Speaks a text: mono 16-bit PCM at 24 kHz, about 150 words a minute with pauses at punctuation. Same request, same
 * bytes. An empty text gives a fifth of a second of silence; what comes after 1,600 words is left out.
 */
export function speak({ text, voice = 'alloy', seed = 0 }: SpeechRequest): Buffer {
  const { syllables, durationS } = scan(text, voice, seed)
  const samples = Math.round(durationS * SAMPLE_RATE_HZ)
  const wav = Buffer.alloc(HEADER_BYTES + samples * 2)
  writeHeader(wav, samples)
  const sine = Float64Array.from({ length: WAVE_POINTS }, (_, i) => Math.sin((2 * Math.PI * i) / WAVE_POINTS))
  for (const syllable of syllables) render(wav, syllable, sine)
  return wav
}

/** Divides a text into syllables in time. */
function scan(text: string, voice: string, seed: number): { syllables: Syllable[]; durationS: number } {
  const chance = createChance(`${voice}\n${seed}\n${text}`)
  const base = 110 + (hashText(voice) % 110)
  const tempo = 0.95 + (hashText(`${voice} tempo`) % 100) / 1000
  const words = text
    .split(/\s+/)
    .filter((word) => /[\p{L}\p{N}]/u.test(word))
    .slice(0, MAX_WORDS)
  const syllables: Syllable[] = []
  let now = 0.1
  let inSentence = 0
  for (const word of words) {
    const letters = word
      .toLowerCase()
      .normalize('NFD')
      .replace(/[^\p{L}\p{N}]/gu, '')
    const nuclei = (letters.match(/[aeiouy]+/g) ?? ['a']).slice(0, 6)
    const wordS = (0.16 + 0.045 * Math.min(letters.length, 14)) / tempo
    const eachS = wordS / nuclei.length
    nuclei.forEach((nucleus, i) => {
      const droop = 1 - Math.min(inSentence, 14) * 0.012
      const accent = i === 0 ? 1.06 : 0.97
      syllables.push({
        formants: vowels[nucleus[0] ?? 'a'] ?? [600, 1400],
        startS: now + i * eachS,
        durationS: eachS * 1.04,
        pitchHz: base * droop * accent * (0.97 + chance.next() * 0.07),
        loudness: i === 0 ? 1 : 0.8,
      })
    })
    now += wordS + 0.02
    inSentence++
    if (/[.!?…:]["')\]]*$/.test(word)) {
      now += 0.34
      inSentence = 0
      const last = syllables.at(-1)
      if (last !== undefined)
        syllables[syllables.length - 1] = { ...last, pitchHz: last.pitchHz * (word.includes('?') ? 1.22 : 0.86) }
    } else if (/[,;–—]["')\]]*$/.test(word)) now += 0.16
  }
  return { syllables, durationS: now + 0.1 }
}

/** Adds one syllable: its waveform, read at its pitch with a little vibrato, under a soft envelope. */
function render(wav: Buffer, { formants, startS, durationS, pitchHz, loudness }: Syllable, sine: Float64Array): void {
  const first = Math.round(startS * SAMPLE_RATE_HZ)
  const count = Math.round(durationS * SAMPLE_RATE_HZ)
  const wave = waveform(formants, pitchHz, sine)
  const attack = Math.min(count / 3, SAMPLE_RATE_HZ * 0.03)
  const release = Math.min(count / 2, SAMPLE_RATE_HZ * 0.07)
  const step = (WAVE_POINTS * pitchHz) / SAMPLE_RATE_HZ
  for (let i = 0; i < count; i++) {
    const at = HEADER_BYTES + (first + i) * 2
    if (at + 2 > wav.length) return
    const rise = Math.min(1, i / attack)
    const fall = Math.min(1, (count - i) / release)
    const envelope = rise * rise * (3 - 2 * rise) * fall * fall * (3 - 2 * fall)
    const vibrato = 6 * Math.sin((2 * Math.PI * 5 * i) / SAMPLE_RATE_HZ) * (i / count)
    const value = wave[Math.floor(step * i + vibrato + WAVE_POINTS) % WAVE_POINTS] ?? 0
    const sample = wav.readInt16LE(at) + Math.round(value * envelope * loudness * 13_000)
    wav.writeInt16LE(Math.max(-32_768, Math.min(32_767, sample)), at)
  }
}

/** One period of a voiced vowel: the harmonics of the pitch, each as loud as the formants let it be. */
function waveform(formants: Syllable['formants'], pitchHz: number, sine: Float64Array): Float64Array {
  const resonance = (hz: number, centre: number, width: number): number => 1 / (1 + ((hz - centre) / width) ** 2)
  const gains = Array.from({ length: 14 }, (_, k) => {
    const hz = pitchHz * (k + 1)
    const loud = resonance(hz, formants[0], 130) + 0.45 * resonance(hz, formants[1], 190)
    return (loud + 0.12 / (k + 1)) / (k + 1) ** 0.55
  })
  const total = gains.reduce((sum, gain) => sum + gain, 0)
  return Float64Array.from({ length: WAVE_POINTS }, (_, i) => {
    let value = 0
    gains.forEach((gain, k) => {
      value += gain * (sine[(i * (k + 1)) % WAVE_POINTS] ?? 0)
    })
    return value / total
  })
}

function writeHeader(wav: Buffer, samples: number): void {
  wav.write('RIFF', 0, 'latin1')
  wav.writeUInt32LE(HEADER_BYTES - 8 + samples * 2, 4)
  wav.write('WAVEfmt ', 8, 'latin1')
  wav.writeUInt32LE(16, 16)
  wav.writeUInt16LE(1, 20)
  wav.writeUInt16LE(1, 22)
  wav.writeUInt32LE(SAMPLE_RATE_HZ, 24)
  wav.writeUInt32LE(SAMPLE_RATE_HZ * 2, 28)
  wav.writeUInt16LE(2, 32)
  wav.writeUInt16LE(16, 34)
  wav.write('data', 36, 'latin1')
  wav.writeUInt32LE(samples * 2, 40)
}
