// For tests only: sounds of a known length.
import { writeWav } from '../sound.ts'

/** A steady tone as a mono WAV of 24 kHz. */
export function aTone(seconds: number): Buffer {
  const samples = Int16Array.from({ length: Math.round(seconds * 24_000) }, (_, i) => 8_000 * Math.sin(i / 9))
  return writeWav({ sampleRateHz: 24_000, channels: 1, samples })
}
