// Runs inside the reading thread: one file, answered by one message. What cannot be read ends the thread by an error.
import { parentPort, workerData } from 'node:worker_threads'
import { parseBuffer } from 'music-metadata'
import type { ContainerFacts } from './containers.ts'

const SUBTYPES: Record<string, ContainerFacts['subtype']> = {
  Ogg: 'ogg',
  FLAC: 'flac',
  MPEG: 'mpeg',
  'EBML/webm': 'webm',
}
/** Written as streams these may leave their length out. In the others no length means that there is no sound. */
const LENGTH_IS_OPTIONAL = new Set<ContainerFacts['subtype']>(['flac', 'mp4', 'webm'])

function isMp4(data: Buffer): boolean {
  // An index alone plays nothing: `mdat` holds the samples.
  return data.toString('latin1', 4, 8) === 'ftyp' && data.includes('mdat')
}

async function read(bytes: Uint8Array): Promise<ContainerFacts | null> {
  const { format } = await parseBuffer(bytes, undefined, { duration: true, skipCovers: true })
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const subtype = isMp4(data) ? 'mp4' : SUBTYPES[format.container ?? '']
  if (subtype === undefined) return null
  const seconds = Math.max(0, format.duration ?? 0, ...format.trackInfo.map((track) => track.duration ?? 0))
  const { pixelWidth: width = 0, pixelHeight: height = 0 } = format.trackInfo.find(({ video }) => video)?.video ?? {}
  return {
    subtype,
    durationMs: seconds > 0 ? Math.round(seconds * 1000) : null,
    picture: width > 0 && height > 0 ? { width, height } : null,
    hasSound: format.hasAudio === true && (seconds > 0 || LENGTH_IS_OPTIONAL.has(subtype)),
  }
}

parentPort?.postMessage(await read(workerData as Uint8Array))
