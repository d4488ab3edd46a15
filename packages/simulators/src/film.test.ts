import { anArtifact, providerClientContract } from '@fabrique/engine/testing'
import type { InputFile, Provider } from '@fabrique/engine'
import type { JsonObject } from '@fabrique/schema'
import { createStandardCatalog, inspect } from '@fabrique/steps'
import { decodeFilm, frameOf } from '@fabrique/steps/testing'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { createSimulatedClient, simulationMissing } from './client.ts'
import { drawPicture } from './picture.ts'
import { speak } from './speak.ts'

const fal = createStandardCatalog().provider('fal')
if (fal === undefined) throw new Error('there is no fal')
const provider: Provider = fal

const SENTENCE = 'The keeper climbed the stairs and lit the lamp.'

const fileOf = (mimeType: string, bytes: Uint8Array): InputFile => ({
  record: anArtifact('a1', { mimeType, bytes: bytes.byteLength }),
  bytes,
})
const portrait = async () => fileOf('image/png', await drawPicture({ prompt: 'a keeper', widthPx: 256, heightPx: 384 }))
const voice = () => fileOf('audio/wav', speak({ text: SENTENCE }))

function requestFor(
  name: string,
  args: JsonObject,
  files: Record<string, InputFile>,
  signal = new AbortController().signal,
) {
  const model = provider.model(name)
  if (model === undefined) throw new Error(`there is no model ${name}`)
  const nothing = { resumeId: null, onRequestId: async () => {}, onProgress: () => {} }
  return { model, request: { args }, files, callId: 'call-1', signal, ...nothing }
}

async function filmed(name: string, args: JsonObject, files: Record<string, InputFile>): Promise<Uint8Array> {
  const { files: made } = await createSimulatedClient(provider).call(requestFor(name, args, files))
  const [film] = made
  if (film === undefined || film.mimeType !== 'video/mp4') throw new Error('there is no film')
  return film.bytes
}

/** How much two frames differ in a region, 0 to 255. */
async function difference(
  film: Uint8Array,
  one: number,
  other: number,
  region: { left: number; top: number; width: number; height: number },
) {
  const [a, b] = await Promise.all(
    [one, other].map(
      async (index) =>
        await sharp(await frameOf(film, index))
          .extract(region)
          .removeAlpha()
          .raw()
          .toBuffer(),
    ),
  )
  return (a ?? Buffer.of()).reduce((sum, value, i) => sum + Math.abs(value - (b?.[i] ?? 0)), 0) / (a?.length ?? 1)
}

providerClientContract('the simulated client for films', async () => {
  const { model, request, files } = requestFor('fal/fabric-1.0', {}, { image: await portrait(), audio: voice() })
  return { client: createSimulatedClient(provider), request: { model, request, files }, dispose: async () => {} }
})

describe('a simulated talking head', () => {
  it('is a film of the picture that is exactly as long as its sound, and decodes whole', async () => {
    const film = await filmed('fal/fabric-1.0', { resolution: '480p' }, { image: await portrait(), audio: voice() })
    const seconds = (voice().bytes.byteLength - 44) / 48_000
    const { width, height, durationMs } = await inspect(film, 'video/mp4')
    expect([width, height]).toEqual([480, 720])
    expect(Math.abs((durationMs ?? 0) / 1000 - seconds)).toBeLessThan(0.1)
    const { frames, soundSeconds } = await decodeFilm(film)
    expect(Math.abs(frames / 25 - seconds)).toBeLessThan(0.1)
    expect(Math.abs(soundSeconds - seconds)).toBeLessThan(0.1)
  })

  it('moves with the voice and rests in silence', async () => {
    const film = await filmed('fal/fabric-1.0', {}, { image: await portrait(), audio: voice() })
    const bars = { left: 180, top: 600, width: 120, height: 96 }
    expect(await difference(film, 0, 1, bars)).toBeLessThan(2)
    expect(await difference(film, 0, 12, bars)).toBeGreaterThan(4)
  })

  it('gives the same bytes for the same request', async () => {
    const once = async () => await filmed('fal/fabric-1.0', {}, { image_url: await portrait(), audio_url: voice() })
    expect(Buffer.compare(await once(), await once())).toBe(0)
  })

  it('refuses a sound that is no WAV', async () => {
    const files = { image: await portrait(), audio: fileOf('audio/mpeg', Buffer.from('ID3')) }
    await expect(filmed('fal/fabric-1.0', {}, files)).rejects.toMatchObject({ failureClass: 'invalid' })
  })

  it('stops when it is told to, as a call that was stopped', async () => {
    const stop = new AbortController()
    const request = requestFor('fal/fabric-1.0', {}, { image: await portrait(), audio: voice() }, stop.signal)
    const call = createSimulatedClient(provider).call(request)
    stop.abort('cancel')
    await expect(call).rejects.toMatchObject({ failureClass: 'timeout' })
  })
})

describe('a simulated film of a picture', () => {
  it('lasts as long as was asked, and comes nearer', async () => {
    const film = await filmed(
      'fal/kling-2.5-turbo',
      { duration: '2', prompt: 'slow push in' },
      { image: await portrait() },
    )
    expect((await inspect(film, 'video/mp4')).durationMs).toBe(2000)
    expect((await decodeFilm(film)).frames).toBe(50)
    expect(await difference(film, 0, 49, { left: 40, top: 100, width: 400, height: 500 })).toBeGreaterThan(2)
  })

  it('shows all of an upright picture, its head too', async () => {
    const stripe = (background: string) =>
      sharp({ create: { width: 400, height: 40, channels: 3, background } })
        .png()
        .toBuffer()
    const picture = await sharp({ create: { width: 400, height: 600, channels: 3, background: '#808080' } })
      .composite([
        { input: await stripe('#d02020'), top: 40, left: 0 },
        { input: await stripe('#2040d0'), top: 520, left: 0 },
      ])
      .png()
      .toBuffer()
    const film = await filmed('fal/kling-2.5-turbo', { duration: 1 }, { image: fileOf('image/png', picture) })
    const frame = await sharp(await frameOf(film, 24))
      .removeAlpha()
      .raw()
      .toBuffer({ resolveWithObject: true })
    expect([frame.info.width, frame.info.height]).toEqual([480, 720])
    const column = Array.from({ length: 720 }, (_, y) =>
      frame.data.subarray((y * 480 + 100) * 3, (y * 480 + 100) * 3 + 3),
    )
    expect(column.slice(0, 120).some(([r = 0, , b = 0]) => r - b > 80)).toBe(true)
    expect(column.slice(600).some(([r = 0, , b = 0]) => b - r > 80)).toBe(true)
  })

  it('is drawn from the prompt where there is no picture, and refused without either', async () => {
    const film = await filmed('fal/kling-2.5-turbo', { duration: 1, prompt: 'a lighthouse' }, {})
    expect(await inspect(film, 'video/mp4')).toMatchObject({ width: 854, height: 480, durationMs: 1000 })
    await expect(filmed('fal/kling-2.5-turbo', { duration: 1 }, {})).rejects.toMatchObject({ failureClass: 'invalid' })
  })

  it('is marked: in a corner of every frame, and in the file', async () => {
    const white = fileOf(
      'image/png',
      await sharp({ create: { width: 300, height: 300, channels: 3, background: '#ffffff' } })
        .png()
        .toBuffer(),
    )
    const film = await filmed('fal/kling-2.5-turbo', { duration: 1 }, { image: white })
    for (const index of [0, 24]) {
      const frame = sharp(await frameOf(film, index))
      const corner = await sharp(
        await frame.clone().extract({ left: 375, top: 431, width: 72, height: 18 }).png().toBuffer(),
      ).stats()
      const middle = await sharp(
        await frame.clone().extract({ left: 180, top: 200, width: 90, height: 30 }).png().toBuffer(),
      ).stats()
      expect(corner.channels[0]?.mean).toBeLessThan(200)
      expect(corner.channels[0]?.max).toBeGreaterThan(220)
      expect(middle.channels[0]?.mean).toBeGreaterThan(245)
    }
    expect(Buffer.from(film).includes('Fabrique simulated provider')).toBe(true)
  })
})

describe('simulationMissing', () => {
  it('names what has no simulation, and nothing where all is there', () => {
    expect(simulationMissing('video')).toBeNull()
    expect(simulationMissing('image')).toBeNull()
    expect(simulationMissing('media')).toContain('key')
  })
})
