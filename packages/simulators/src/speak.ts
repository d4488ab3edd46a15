/**
 * The offline twin of a speech model: hums a text, one soft voiced syllable after another, as a WAV file.
 * It hides the voice: a tone through vowel formants with a melody that falls at the end of a sentence.
 */
import { writeWav } from '@fabrique/steps/sound'
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

/** Points of one period of a waveform, and of the sine that it is made of. */
const WAVE_POINTS = 1024
const SINE = Float64Array.from({ length: WAVE_POINTS }, (_, i) => Math.sin((2 * Math.PI * i) / WAVE_POINTS))

type Formants = readonly [first: number, second: number]

/** The first two formants of the vowels, in hertz. */
const VOWELS: Readonly<Record<string, Formants>> = {
  a: [760, 1250],
  e: [520, 1850],
  i: [320, 2250],
  o: [500, 900],
  u: [350, 780],
  y: [330, 1950],
}

interface Syllable {
  readonly formants: Formants
  readonly startS: number
  readonly durationS: number
  pitchHz: number
  readonly loudness: number
}

/**
 * Speaks a text: mono 16-bit PCM at 24 kHz, about 150 words a minute with pauses at punctuation. Same request, same
 * bytes. An empty text gives a fifth of a second of silence; what comes after 1,600 words is left out.
 */
export function speak({ text, voice = 'alloy', seed = 0 }: SpeechRequest): Buffer {
  const chance = createChance(`${voice}\n${seed}\n${text}`)
  const base = 110 + (hashText(voice) % 110)
  const tempo = 0.95 + (hashText(`${voice} tempo`) % 100) / 1000
  const words = text.split(/\s+/).filter((word) => /[\p{L}\p{N}]/u.test(word))
  const syllables: Syllable[] = []
  let now = 0.1
  let inSentence = 0
  for (const word of words.slice(0, MAX_WORDS)) {
    const letters = word
      .toLowerCase()
      .normalize('NFD')
      .replaceAll(/[^\p{L}\p{N}]/gu, '')
    const nuclei = (letters.match(/[aeiouy]+/g) ?? ['a']).slice(0, 6)
    const eachS = (0.16 + 0.045 * Math.min(letters.length, 14)) / tempo / nuclei.length
    for (const [i, nucleus] of nuclei.entries()) {
      const melody = (1 - Math.min(inSentence, 14) * 0.012) * (i === 0 ? 1.06 : 0.97) * (0.97 + chance.next() * 0.07)
      syllables.push({
        formants: VOWELS[nucleus[0] ?? 'a'] ?? [600, 1400],
        startS: now + i * eachS,
        durationS: eachS * 1.04,
        pitchHz: base * melody,
        loudness: i === 0 ? 1 : 0.8,
      })
    }
    now += eachS * nuclei.length + 0.02
    inSentence++
    const last = syllables.at(-1)
    if (/[.!?…:]["')\]]*$/.test(word)) {
      if (last !== undefined) last.pitchHz *= word.includes('?') ? 1.22 : 0.86
      now += 0.34
      inSentence = 0
    } else if (/[,;–—]["')\]]*$/.test(word)) now += 0.16
  }
  const samples = new Int16Array(Math.round((now + 0.1) * SAMPLE_RATE_HZ))
  for (const syllable of syllables) render(samples, syllable)
  return writeWav({ sampleRateHz: SAMPLE_RATE_HZ, channels: 1, samples })
}

/** Adds one syllable: its waveform, read at its pitch with a little vibrato, under a soft envelope. */
function render(samples: Int16Array, { formants, startS, durationS, pitchHz, loudness }: Syllable): void {
  const first = Math.round(startS * SAMPLE_RATE_HZ)
  const count = Math.min(Math.round(durationS * SAMPLE_RATE_HZ), samples.length - first)
  const wave = waveform(formants, pitchHz)
  const [attack, release] = [Math.min(count / 3, SAMPLE_RATE_HZ * 0.03), Math.min(count / 2, SAMPLE_RATE_HZ * 0.07)]
  const soft = (share: number): number => share * share * (3 - 2 * share)
  for (let i = 0; i < count; i++) {
    const envelope = soft(Math.min(1, i / attack)) * soft(Math.min(1, (count - i) / release))
    const vibrato = 6 * Math.sin((2 * Math.PI * 5 * i) / SAMPLE_RATE_HZ) * (i / count)
    const point = Math.floor(((WAVE_POINTS * pitchHz) / SAMPLE_RATE_HZ) * i + vibrato + WAVE_POINTS) % WAVE_POINTS
    const sample = (samples[first + i] ?? 0) + Math.round((wave[point] ?? 0) * envelope * loudness * 13_000)
    samples[first + i] = Math.max(-32_768, Math.min(32_767, sample))
  }
}

/** One period of a voiced vowel: the harmonics of the pitch, each as loud as the formants let it be. */
function waveform([low, high]: Formants, pitchHz: number): Float64Array {
  const resonance = (hz: number, centre: number, width: number): number => 1 / (1 + ((hz - centre) / width) ** 2)
  const gains = Array.from({ length: 14 }, (_, k) => {
    const hz = pitchHz * (k + 1)
    return (resonance(hz, low, 130) + 0.45 * resonance(hz, high, 190) + 0.12 / (k + 1)) / (k + 1) ** 0.55
  })
  const total = gains.reduce((sum, gain) => sum + gain, 0)
  return Float64Array.from(SINE, (_, i) =>
    gains.reduce((sum, gain, k) => sum + (gain * (SINE[(i * (k + 1)) % WAVE_POINTS] ?? 0)) / total, 0),
  )
}
