import type { JsonObject } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { inOwnWords, requestFor } from './parameters.ts'

const mapped = {
  size: { to: 'image_size', values: { '1024x1024': 'square', wide: { width: 16, height: 9 } } },
  aspect: { to: 'image_size' },
  n: { to: 'num_images' },
  quality: { to: 'quality', values: { best: 'high' } },
}

describe("parameters in a model's own words", () => {
  it.each<[given: JsonObject, said: JsonObject]>([
    [
      { size: '1024x1024', n: 2, seed: 7 },
      { image_size: 'square', num_images: 2, seed: 7 },
    ],
    [{ size: 'wide' }, { image_size: { width: 16, height: 9 } }],
    [{ size: 'another' }, { image_size: 'another' }],
    [{ quality: 'best' }, { quality: 'high' }],
    [
      { image_size: 'square', size: 'wide' },
      { image_size: 'square', size: 'wide' },
    ],
    [
      { size: 'wide', aspect: '16:9' },
      { image_size: { width: 16, height: 9 }, aspect: '16:9' },
    ],
    [{ constructor: 1 }, { constructor: 1 }],
  ])('%j are %j', (given, said) => {
    expect(inOwnWords(given, { mapped }).params).toEqual(said)
  })

  it('are told apart from those that they were given by', () => {
    expect([...inOwnWords({ size: 'wide', seed: 1 }, { mapped }).names]).toEqual([
      ['image_size', 'size'],
      ['seed', 'seed'],
    ])
  })

  it('leave the rest of a request alone', () => {
    const request = { prompt: 'p', params: { n: 2 } }
    expect(requestFor({ mapped }, request)).toEqual({ prompt: 'p', params: { num_images: 2 } })
    expect(requestFor({}, request)).toBe(request)
  })
})
