// Uncompressed sound: WAV files walked, decoded, joined and written, in memory.
// Hides chunks, sample formats and rates; everything decoded is 16-bit PCM.

/** Sound beyond this is refused: ten minutes of stereo at 48 kHz are 115 MB. */
export const SOUND_SECONDS_MAX = 600

const HEADER_BYTES = 44
const PCM = 1
const FLOAT = 3
const EXTENSIBLE = 0xfffe

/** No file is larger: from here on sizes are what writers of streams put where they could not know the length. */
const STREAMED_BYTES = 256 * 1024 * 1024

interface WavFacts {
  format: number
  channels: number
  sampleRateHz: number
  bytesPerSecond: number
  bitsPerSample: number
  /** Where the samples lie. */
  offset: number
  bytes: number
  durationMs: number
}

/** Sound in memory: interleaved samples. */
export interface Sound {
  sampleRateHz: number
  channels: number
  samples: Int16Array
}

/** The facts of a WAV file; null for anything else and for a truncated one. */
export function wavFacts(bytes: Uint8Array): WavFacts | null {
  const data = asBuffer(bytes)
  if (data.toString('latin1', 0, 4) !== 'RIFF' || data.toString('latin1', 8, 12) !== 'WAVE') return null
  let form: Omit<WavFacts, 'offset' | 'bytes' | 'durationMs'> | null = null
  for (let at = 12; at + 8 <= data.length; ) {
    const id = data.toString('latin1', at, at + 4)
    const size = data.readUInt32LE(at + 4)
    const start = at + 8
    if (id === 'fmt ') {
      if (size < 16 || start + size > data.length) return null
      const tag = data.readUInt16LE(start)
      form = {
        // The extensible form keeps the real tag at the head of its sub-format.
        format: tag === EXTENSIBLE && size >= 26 ? data.readUInt16LE(start + 24) : tag,
        channels: data.readUInt16LE(start + 2),
        sampleRateHz: data.readUInt32LE(start + 4),
        bytesPerSecond: data.readUInt32LE(start + 8),
        bitsPerSample: data.readUInt16LE(start + 14),
      }
    }
    if (id === 'data') {
      const rest = data.length - start
      // Others leave the header of an empty file.
      const isStreamed = size > STREAMED_BYTES || (size === 0 && data.readUInt32LE(4) <= start - 8)
      const length = isStreamed ? rest : size
      if (form === null || form.bytesPerSecond === 0 || form.channels === 0 || length === 0 || length > rest)
        return null
      return { ...form, offset: start, bytes: length, durationMs: Math.round((length / form.bytesPerSecond) * 1000) }
    }
    at = start + size + (size % 2)
  }
  return null
}

/** The samples of a WAV file of 8 to 32-bit PCM or 32-bit float, one or two channels; null for any other file. */
export function readWav(bytes: Uint8Array): Sound | null {
  const facts = wavFacts(bytes)
  if (facts === null || facts.channels > 2 || facts.sampleRateHz < 4_000 || facts.sampleRateHz > 192_000) return null
  const data = asBuffer(bytes).subarray(facts.offset, facts.offset + facts.bytes)
  const read = reader(data, facts)
  if (read === null) return null
  const width = facts.bitsPerSample / 8
  const frames = Math.floor(data.length / (width * facts.channels))
  const samples = new Int16Array(frames * facts.channels)
  for (let i = 0; i < samples.length; i += 1) samples[i] = read(i * width)
  return { sampleRateHz: facts.sampleRateHz, channels: facts.channels, samples }
}

/** How one sample is read as 16 bits; null for a format that is not plain samples. */
function reader(data: Buffer, { format, bitsPerSample }: WavFacts): ((at: number) => number) | null {
  if (format === PCM && bitsPerSample === 16) return (at) => data.readInt16LE(at)
  if (format === PCM && bitsPerSample === 8) return (at) => (data.readUInt8(at) - 128) * 256
  if (format === PCM && bitsPerSample === 24) return (at) => data.readIntLE(at, 3) >> 8
  if (format === PCM && bitsPerSample === 32) return (at) => data.readInt32LE(at) >> 16
  if (format !== FLOAT || bitsPerSample !== 32) return null
  return (at) => Math.round(Math.max(-1, Math.min(1, data.readFloatLE(at) || 0)) * 32_767)
}

/** Seconds of a sound. */
export function secondsOf({ samples, channels, sampleRateHz }: Sound): number {
  return samples.length / channels / sampleRateHz
}

/** One sound after another with silence between, at the highest rate and most channels among them. */
export function joinSounds(parts: readonly Sound[], pauseMs: number): Sound {
  const sampleRateHz = Math.max(...parts.map((part) => part.sampleRateHz))
  const channels = Math.max(...parts.map((part) => part.channels))
  const even = parts.map((part) => conform(part, sampleRateHz, channels))
  const pause = Math.round((pauseMs / 1000) * sampleRateHz) * channels
  const samples = new Int16Array(even.reduce((sum, part) => sum + part.length, pause * Math.max(0, parts.length - 1)))
  let at = 0
  for (const part of even) {
    samples.set(part, at)
    at += part.length + pause
  }
  return { sampleRateHz, channels, samples }
}

/** The samples at another rate, between neighbours on a straight line: rates only ever go up here, so nothing folds back. */
function conform({ samples, channels: own, sampleRateHz: rate }: Sound, sampleRateHz: number, channels: number) {
  if (rate === sampleRateHz && own === channels) return samples
  const frames = Math.floor(samples.length / own)
  const count = Math.round((frames * sampleRateHz) / rate)
  const result = new Int16Array(count * channels)
  for (let i = 0; i < count; i += 1) {
    const position = (i * rate) / sampleRateHz
    const first = Math.min(Math.floor(position), frames - 1)
    const next = Math.min(first + 1, frames - 1)
    for (let channel = 0; channel < channels; channel += 1) {
      const from = Math.min(channel, own - 1)
      const [a, b] = [samples[first * own + from] ?? 0, samples[next * own + from] ?? 0]
      result[i * channels + channel] = Math.round(a + (b - a) * (position - first))
    }
  }
  return result
}

/** A 16-bit PCM WAV file of the sound. */
export function writeWav({ samples, channels, sampleRateHz }: Sound): Buffer {
  const wav = Buffer.alloc(HEADER_BYTES + samples.length * 2)
  wav.write('RIFF', 0, 'latin1')
  wav.writeUInt32LE(wav.length - 8, 4)
  wav.write('WAVEfmt ', 8, 'latin1')
  wav.writeUInt32LE(16, 16)
  wav.writeUInt16LE(PCM, 20)
  wav.writeUInt16LE(channels, 22)
  wav.writeUInt32LE(sampleRateHz, 24)
  wav.writeUInt32LE(sampleRateHz * channels * 2, 28)
  wav.writeUInt16LE(channels * 2, 32)
  wav.writeUInt16LE(16, 34)
  wav.write('data', 36, 'latin1')
  wav.writeUInt32LE(samples.length * 2, 40)
  for (let i = 0; i < samples.length; i += 1) wav.writeInt16LE(samples[i] ?? 0, HEADER_BYTES + i * 2)
  return wav
}

/** How loud each of `count` equal stretches is, 0 to 1 of the loudest. */
export function loudness(sound: Sound, count: number): number[] {
  const per = sound.samples.length / count
  const levels = Array.from({ length: count }, (_, i) => {
    const part = sound.samples.subarray(Math.floor(i * per), Math.floor((i + 1) * per))
    let sum = 0
    for (const sample of part) sum += sample * sample
    return Math.sqrt(sum / Math.max(1, part.length))
  })
  const loudest = levels.reduce((max, level) => Math.max(max, level), 1)
  return levels.map((level) => level / loudest)
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
