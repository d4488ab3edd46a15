// Runs inside the reading thread: one file, answered by one message. What cannot be read at all ends the thread by an error.
import { parentPort, workerData } from 'node:worker_threads'
import {
  ADTS,
  BufferSource,
  EncodedPacketSink,
  FLAC,
  Input,
  type InputTrack,
  MP3,
  MP4,
  OGG,
  QTFF,
  WEBM,
} from 'mediabunny'
import type { ContainerFacts } from './containers.ts'

/** What a record can hold. */
const INTEGER_MAX = 2 ** 31 - 1

async function read(bytes: Uint8Array): Promise<ContainerFacts> {
  const input = new Input({ source: new BufferSource(bytes), formats: [MP4, QTFF, WEBM, MP3, ADTS, FLAC, OGG] })
  const [picture, sound] = [await input.getPrimaryVideoTrack(), await input.getPrimaryAudioTrack()]
  const tracks = [picture, sound].filter((track) => track !== null)
  const mimeType = tracks.length === 0 ? null : ((await input.getMimeType()).split(';')[0] ?? null)
  const damaged = { mimeType, durationMs: null, width: null, height: null, isWhole: false }
  const lengths = []
  for (const track of tracks) {
    if (!(await hasEnd(track))) return damaged
    lengths.push(await track.computeDuration())
  }
  const durationMs = Math.round(Math.max(0, ...lengths) * 1000)
  const [width, height] = picture === null ? [null, null] : [picture.displayWidth, picture.displayHeight]
  const isSane = [durationMs, width ?? 1, height ?? 1].every((value) => value > 0 && value <= INTEGER_MAX)
  return isSane ? { mimeType, durationMs, width, height, isWhole: true } : damaged
}

/** Whether the last packet that a track announces is there, with its bytes. */
async function hasEnd(track: InputTrack): Promise<boolean> {
  const packet = await new EncodedPacketSink(track).getPacket(Number.POSITIVE_INFINITY).catch(() => null)
  return packet !== null && packet.data.byteLength > 0
}

parentPort?.postMessage(await read(workerData as Uint8Array))
