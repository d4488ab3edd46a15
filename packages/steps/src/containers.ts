// What compressed sound and film files say of themselves, read without decoding them.
// Hides MP4 boxes and MPEG frames; every walk is bounded by the file's length.

interface Mp4Facts {
  /** Null where the file is fragmented and does not say. */
  durationMs: number | null
  /** As it is shown, of the first picture track; null without one. */
  picture: { width: number; height: number } | null
  hasSound: boolean
}

interface Box {
  type: string
  from: number
  to: number
}

/** The facts of an MP4; null for anything else, for one without index or content, and for a truncated one. */
export function mp4Facts(bytes: Uint8Array): Mp4Facts | null {
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const top = boxesOf(data, 0, data.length)
  const movie = top?.find(({ type }) => type === 'moov')
  if (top?.[0]?.type !== 'ftyp' || movie === undefined || !top.some(({ type }) => type === 'mdat')) return null
  const inside = boxesOf(data, movie.from, movie.to)
  const header = inside?.find(({ type }) => type === 'mvhd')
  if (inside === null || header === undefined || header.to - header.from < 20) return null
  const facts: Mp4Facts = { durationMs: durationOf(data, header), picture: null, hasSound: false }
  for (const track of inside.filter(({ type }) => type === 'trak')) {
    const parts = boxesOf(data, track.from, track.to) ?? []
    const media = parts.find(({ type }) => type === 'mdia')
    const handler = media && boxesOf(data, media.from, media.to)?.find(({ type }) => type === 'hdlr')
    const kind = handler && data.toString('latin1', handler.from + 8, Math.min(handler.from + 12, handler.to))
    const shape = parts.find(({ type }) => type === 'tkhd')
    if (kind === 'soun') facts.hasSound = true
    if (kind === 'vide' && shape !== undefined) facts.picture ??= sizeOf(data, shape)
  }
  return facts
}

/** The boxes between two offsets; null where one of them does not fit. */
function boxesOf(data: Buffer, start: number, end: number): Box[] | null {
  const boxes: Box[] = []
  for (let at = start; at < end; ) {
    if (end - at < 8) return null
    const short = data.readUInt32BE(at)
    const long = short === 1
    if (long && end - at < 16) return null
    // Zero: up to the end of what holds it.
    const size = short === 0 ? end - at : long ? Number(data.readBigUInt64BE(at + 8)) : short
    const head = long ? 16 : 8
    if (size < head || at + size > end) return null
    boxes.push({ type: data.toString('latin1', at + 4, at + 8), from: at + head, to: at + size })
    at += size
  }
  return boxes
}

function durationOf(data: Buffer, { from, to }: Box): number | null {
  const wide = data.readUInt8(from) === 1
  if (wide && to - from < 32) return null
  const scale = data.readUInt32BE(from + (wide ? 20 : 12))
  const units = wide ? Number(data.readBigUInt64BE(from + 24)) : data.readUInt32BE(from + 16)
  return scale === 0 || units === 0 ? null : Math.round((units / scale) * 1000)
}

function sizeOf(data: Buffer, { from, to }: Box): Mp4Facts['picture'] {
  // 36 bytes of matrix, then the sides in 16.16, at the end of both versions of the box.
  if (to - from < 84) return null
  const [width, height] = [data.readUInt32BE(to - 8) >>> 16, data.readUInt32BE(to - 4) >>> 16]
  if (width === 0 || height === 0) return null
  const turned = data.readInt32BE(to - 44) === 0 && data.readInt32BE(to - 40) !== 0
  return turned ? { width: height, height: width } : { width, height }
}

const BITRATES_V1_KBPS = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320]
const BITRATES_V2_KBPS = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160]
const RATES_HZ = [44_100, 48_000, 32_000]

/** The length of an MP3 by its frames, with or without tags around them; null for anything else. */
export function mp3Facts(bytes: Uint8Array): { durationMs: number } | null {
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  if (data.length > 10 && data.toString('latin1', 0, 3) === 'ID3') {
    const sizeBytes = [6, 7, 8, 9].reduce((sum, i) => sum * 128 + (data.readUInt8(i) & 127), 0)
    at = 10 + sizeBytes
  }
  let seconds = 0
  let frames = 0
  while (at + 4 <= data.length) {
    const frame = mp3Frame(data.readUInt32BE(at))
    if (frame === null) break
    seconds += frame.seconds
    frames += 1
    at += frame.bytes
  }
  // One header may be chance; two that follow each other are not.
  return frames < 2 ? null : { durationMs: Math.round(seconds * 1000) }
}

function mp3Frame(header: number): { bytes: number; seconds: number } | null {
  const version = (header >>> 19) & 3
  const rateIndex = (header >>> 10) & 3
  const isLayer3 = ((header >>> 17) & 3) === 1
  if (header >>> 21 !== 0x7ff || version === 1 || !isLayer3 || rateIndex === 3) return null
  const isV1 = version === 3
  const kbps = (isV1 ? BITRATES_V1_KBPS : BITRATES_V2_KBPS)[(header >>> 12) & 15] ?? 0
  if (kbps === 0) return null
  const rateHz = (RATES_HZ[rateIndex] ?? 0) / (isV1 ? 1 : version === 2 ? 2 : 4)
  const samples = isV1 ? 1152 : 576
  const padding = (header >>> 9) & 1
  return { bytes: Math.floor(((samples / 8) * kbps * 1000) / rateHz) + padding, seconds: samples / rateHz }
}
