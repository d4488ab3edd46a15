import type { JsonObject } from '@fabrique/schema'
import { describe, expect, it } from 'vitest'
import { readAnswer } from './fal-answer.ts'

const A = 'https://v3.fal.media/files/a.png'
const B = 'https://v3.fal.media/files/b.png'
const links = (data: JsonObject, request: JsonObject = {}) =>
  readAnswer(data, request).files.map(({ name, url }) => [name, url])

describe('the files of an answer', () => {
  it.each<[string, JsonObject, [string, string][]]>([
    ['an object', { image: { url: A, width: 4 } }, [['image', A]]],
    [
      'a list of objects',
      { images: [{ url: A }, { url: B }] },
      [
        ['images', A],
        ['images', B],
      ],
    ],
    ['a text', { image: A }, [['image', A]]],
    [
      'a list of texts',
      { images: [A, B] },
      [
        ['images', A],
        ['images', B],
      ],
    ],
    ['a field that ends in _url', { audio_url: 'https://x.example/say' }, [['audio', 'https://x.example/say']]],
    ['a field that ends in _urls', { mask_urls: [A] }, [['mask', A]]],
    ['nested objects', { output: { video: { url: 'https://x.example/v' } } }, [['video', 'https://x.example/v']]],
    ['nested lists', { results: [[{ frames: [{ url: A }] }]] }, [['frames', A]]],
    ['the answer itself', { url: 'https://x.example/1', seed: 1 }, [['file', 'https://x.example/1']]],
    [
      'a field of any name, by the ending',
      { textured: 'https://x.example/m.glb?sig=1' },
      [['textured', 'https://x.example/m.glb?sig=1']],
    ],
    ['a data URL', { whatever: 'data:image/png;base64,AAAA' }, [['whatever', 'data:image/png;base64,AAAA']]],
    ['bytes in an object', { image: { file_data: 'AAAA' } }, [['image', 'data:application/octet-stream;base64,AAAA']]],
    ['one link twice', { image: { url: A }, images: [{ url: A }] }, [['image', A]]],
    ['odd names', { 'my image/url': { url: A } }, [['my-image-url', A]]],
  ])('are found as %s', (_, data, found) => {
    expect(links(data)).toEqual(found)
  })

  it('are not the texts that the answer echoes of the request, or that only mention an address', () => {
    const data = {
      image_url: A,
      prompt: 'https://x.example/page',
      text: 'see https://x.example/a.png',
      note: 'data: a, b',
    }
    expect(readAnswer(data, { args: { image_url: A } })).toMatchObject({ files: [], output: data })
  })

  it('keep the order, and are a hundred at most', () => {
    const images = Array.from({ length: 150 }, (_, at) => ({ url: `https://x.example/${at}.png` }))
    const files = links({ images })
    expect([files.length, files[0], files[99]]).toEqual([
      100,
      ['images', 'https://x.example/0.png'],
      ['images', 'https://x.example/99.png'],
    ])
  })
})

describe('what an answer says beside its files', () => {
  it('is kept as it came: seed, timings, lists, and what nobody knows', () => {
    const rest = {
      seed: 7,
      timings: { inference: 1.5 },
      chunks: [{ text: 'a', at: [0, 1] }],
      empty: [],
      none: null,
      made_up: true,
    }
    expect(readAnswer({ ...rest, images: [{ url: A }], video: { url: B, fps: 24 } }, {}).output).toEqual(rest)
  })

  it('is a mebibyte at most, and costs no file', () => {
    const { output, files } = readAnswer({ first: 1, long: 'x'.repeat(2_000_000), image: { url: A } }, {})
    expect([output, files.length]).toEqual([{ first: 1 }, 1])
  })

  it('is read to a depth, without touching prototypes', () => {
    const deep = JSON.parse(`${'{"a":'.repeat(500)}1${'}'.repeat(500)}`) as JsonObject
    expect(JSON.stringify(readAnswer(deep, {}).output).length).toBeLessThan(100)
    const { output } = readAnswer(JSON.parse('{"__proto__":{"x":1},"seed":2}') as JsonObject, {})
    expect([Object.keys(output), Object.getPrototypeOf(output)]).toEqual([['seed'], Object.prototype])
  })
})

describe('flags of a safety checker', () => {
  const images = [{ url: A }, { url: B }]

  it.each<[string, JsonObject, string[], number]>([
    ['one for each picture', { images, has_nsfw_concepts: [true, false] }, [B], 1],
    ['none', { images, has_nsfw_concepts: [false, false] }, [A, B], 0],
    ['all', { images, has_nsfw_concepts: [true, true] }, [], 2],
    ['one for all', { image: images[0] as JsonObject, has_nsfw_content: true }, [], 1],
    ['one by one', { image: images[0] as JsonObject, nsfw_content_detected: [true] }, [], 1],
    ['of a number that does not fit', { images, has_nsfw_concepts: [false, false, true] }, [], 2],
    ['as scores, which are no flags', { images, nsfw_scores: [0.9, 0.1] }, [A, B], 0],
    ['of equal black pictures', { images: [{ url: A }, { url: A }], has_nsfw_concepts: [true, true] }, [], 2],
  ])('%s', (_, data, kept, flagged) => {
    const answer = readAnswer(data, {})
    expect([answer.files.map(({ url }) => url), answer.flagged]).toEqual([kept, flagged])
  })
})
