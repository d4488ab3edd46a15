// `audio.join`: spoken parts as one WAV, with a breath between them.
import type { Tool } from '@fabrique/engine'
import type { JsonValue } from '@fabrique/schema'
import { z } from 'zod'
import { joinSounds, secondsOf, writeWav } from '../sound.ts'
import { openSounds } from './spoken-parts.ts'

const Args = z.strictObject({
  /** Files, or outputs of steps that made one: `{steps.voice.output}` of a forEach. */
  parts: z.array(z.unknown()).min(1).max(200),
  pauseMs: z.int().min(0).max(10_000).default(250),
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,63}$/)
    .default('audio'),
})

/** `{artifact, duration_ms}`: PCM WAV parts in order; of different rates, the highest is kept. */
export const audioJoin: Tool = {
  name: 'audio.join',
  description: 'Joins WAV files to one, with a pause between them.',
  args: Args,
  outputKeys: ['artifact', 'duration_ms'],
  makes: () => 'audio/wav',
  async run(args, context) {
    const { parts, pauseMs, name } = args as z.infer<typeof Args>
    const joined = joinSounds(await openSounds(parts as JsonValue[], 'args.parts', context), pauseMs)
    const artifact = await context.store({ name, mimeType: 'audio/wav', bytes: writeWav(joined) })
    return { artifact, duration_ms: Math.round(secondsOf(joined) * 1000) }
  },
}
