// Sound files of a run, opened and decoded.
// Hides the refusal of what is not plain WAV, which nothing here could join or check.
import { type StepContext, StepFailure } from '@fabrique/engine'
import type { JsonValue } from '@fabrique/schema'
import { readWav, secondsOf, SOUND_SECONDS_MAX, type Sound } from '../sound.ts'
import { artifactIn } from './reference.ts'

/** The sounds of these values, in order; rejects with `invalid` what is no WAV, and more than ten minutes of it. */
export async function openSounds(values: readonly JsonValue[], field: string, context: StepContext): Promise<Sound[]> {
  const sounds: Sound[] = []
  let seconds = 0
  for (const [index, value] of values.entries()) {
    const { record, bytes } = await context.open(artifactIn(value), `${field}[${index}]`)
    const sound = readWav(bytes)
    if (sound === null) {
      throw new StepFailure(
        'invalid',
        `"${field}[${index}]" is ${record.mimeType}, and must be a PCM WAV of one or two channels: ask the speech step for format wav.`,
      )
    }
    seconds += secondsOf(sound)
    if (seconds > SOUND_SECONDS_MAX) {
      throw new StepFailure('invalid', `"${field}" is longer than ${SOUND_SECONDS_MAX / 60} minutes in all.`)
    }
    sounds.push(sound)
  }
  return sounds
}
