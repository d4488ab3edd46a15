import { pricedBy } from '@fabrique/engine'
import type { JsonObject, Unit, Usage } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { fal } from './fal.ts'

function modelOf(name: string, ...units: Unit[]) {
  const model = fal.provider.model(name)
  if (model === undefined) throw new Error(`there is no model ${name}`)
  return pricedBy(
    units.map((unit) => ({ model: name, unit, unit_price_usd: 1, assumed: true as const })),
    model,
  )
}
const expected = (name: string, said: JsonObject, ...units: Unit[]): Usage | undefined =>
  fal.provider.expectedUsage(modelOf(name, ...units), { params: said })[0]

describe('what a request is expected to use', () => {
  it.each<[JsonObject, number]>([
    [{}, 1],
    [{ image_size: 'landscape_4_3' }, 1],
    [{ image_size: 'square_hd' }, 1],
    [{ image_size: 'portrait_16_9', num_images: 3 }, 3],
    [{ image_size: { width: 2048, height: 2048 } }, 4],
    [{ image_size: { width: 2048, height: 2048 }, num_images: 4 }, 16],
    [{ image_size: { width: '1536', height: '1024' } }, 2],
    [{ width: 1025, height: 1024 }, 2],
    [{ image_size: '1536x1024' }, 2],
    [{ image_size: 'auto_4K' }, 16],
    [{ resolution: '2K' }, 4],
    [{ image_size: 'a preset of tomorrow' }, 1],
    [{ image_size: { width: '{intake.width}', height: 2048 } }, 2],
    [{ num_images: '{intake.count}' }, 1],
  ])('of pixels: %j', (said, quantity) => {
    expect(expected('fal/flux-dev', said)).toMatchObject({ unit: 'megapixel', quantity })
  })

  it.each<[JsonObject, number]>([
    [{}, 5],
    [{ duration: 10 }, 10],
    [{ duration: '10' }, 10],
    [{ duration: '8s' }, 8],
    [{ duration: '2.5 seconds' }, 2.5],
    [{ duration: 'auto' }, 5],
    [{ duration: '{intake.seconds}' }, 5],
    [{ num_frames: 96, frames_per_second: 24 }, 4],
  ])('of seconds: %j', (said, quantity) => {
    expect(expected('fal/kling-2.5-turbo', said)).toMatchObject({ unit: 'second', quantity })
  })

  it.each<JsonObject>([
    { image_size: { width: -1024, height: 1024 } },
    { image_size: { width: -1024, height: -1024 } },
    { image_size: { width: 1e9, height: 1 } },
    { image_size: { width: 0, height: 1024 } },
    { image_size: { width: 'wide', height: 1024 } },
    { image_size: { width: [512], height: 1024 } },
    { width: 'NaN' },
    { width: 'Infinity' },
    { num_images: -4 },
    { num_images: 1e6 },
  ])('is no number for what no request can have: %j', (said) => {
    expect(expected('fal/flux-dev', said)?.quantity).toBeNaN()
  })

  it.each<JsonObject>([{ duration: -5 }, { duration: 1e9 }, { duration: 'long' }, { num_frames: -1 }])(
    'is no number for a length that no film can have: %j',
    (said) => {
      expect(expected('fal/kling-2.5-turbo', said)?.quantity).toBeNaN()
    },
  )

  it('has a film as long as the longest of its sounds and films, where it names no length itself', () => {
    const file = (durationMs: number | null) => ({ mimeType: 'audio/wav', width: null, height: null, durationMs })
    const seconds = (said: JsonObject, ...files: ReturnType<typeof file>[]) => {
      const outlook = { at: 'expected', answer: '', files } as const
      return fal.provider.expectedUsage(modelOf('fal/fabric-1.0', 'second'), { args: said }, outlook)[0]?.quantity
    }
    expect(seconds({}, file(null), file(41_500), file(3_000))).toBe(41.5)
    expect(seconds({ duration: 8 }, file(41_500))).toBe(8)
    expect(seconds({}, file(null))).toBe(30)
  })

  it('is what the price list says of a request that says nothing', () => {
    const usual = { num_images: 2, image_size: 'square_hd', seconds: 12, resolution: '720p' }
    const usageOf = (name: string, unit: Unit) => fal.provider.expectedUsage({ ...modelOf(name, unit), usual }, {})[0]
    expect(usageOf('fal/flux-dev', 'megapixel')?.quantity).toBe(2)
    expect(usageOf('fal/fabric-1.0', 'second')).toMatchObject({ quantity: 12, facts: { resolution: '720p' } })
  })

  it('is in the unit that the price list has for the model, with the facts that prices depend on', () => {
    const said = { duration: '8s', resolution: '1080p', generate_audio: false, num_images: 2 }
    const facts = { duration: '8s', resolution: '1080p', audio: 'false' }
    expect(expected('fal/acme/film', said, 'second')).toEqual({ unit: 'second', quantity: 8, facts })
    expect(expected('fal/acme/film', said, 'image')).toMatchObject({ unit: 'image', quantity: 2 })
    expect(expected('fal/acme/film', said)).toMatchObject({ unit: 'request', quantity: 1 })
    expect(expected('fal/acme/film', said, 'second', 'request')).toMatchObject({ unit: 'request' })
    expect(expected('fal/acme/voice', { text: 'four' }, 'character')).toEqual({ unit: 'character', quantity: 4 })
    expect(expected('fal/fabric-1.0', {})).toEqual({ unit: 'second', quantity: 30, facts: { resolution: '480p' } })
  })
})

describe('what was made', () => {
  const film = (durationMs: number | null, mimeType = 'video/mp4') => ({
    mimeType,
    width: 640,
    height: 360,
    durationMs,
  })
  const measured = (name: string, said: JsonObject, made: ReturnType<typeof film>[], ...units: Unit[]) =>
    fal.provider.measure?.(modelOf(name, ...units), { args: said }, made)

  it.each<[string, JsonObject, ReturnType<typeof film>[], number | null]>([
    ['its film', {}, [film(12_340)], 12.34],
    ['all of its films, without sound beside them', {}, [film(4_000), film(6_000), film(9_000, 'audio/wav')], 10],
    ['a sound', {}, [film(2_500, 'audio/wav')], 2.5],
    ['what was ordered, where the film is a frame longer', { duration: '5' }, [film(5_042)], 5],
    ['the film, where it is not what was ordered', { duration: '10' }, [film(6_000)], 6],
    ['nothing, where the length is not known', {}, [film(null)], null],
    ['nothing, where nothing was made', {}, [], null],
  ])('in seconds: %s', (_, said, made, quantity) => {
    expect(measured('fal/kling-2.5-turbo', said, made)?.[0]?.quantity ?? null).toBe(quantity)
  })

  it('in characters: those of the text that was spoken', () => {
    expect(measured('fal/xai-tts', { text: 'four' }, [])).toEqual([{ unit: 'character', quantity: 4 }])
  })

  it('in pictures and pixels, each rounded up', () => {
    const pictures = [film(null, 'image/png'), { ...film(null, 'image/png'), width: 2048, height: 1024 }]
    expect(measured('fal/acme/any', {}, pictures, 'image')?.[0]?.quantity).toBe(2)
    expect(measured('fal/acme/any', {}, pictures, 'megapixel')?.[0]?.quantity).toBe(3)
    expect(measured('fal/acme/any', {}, pictures, 'request')).toBeNull()
  })
})
