import { describe, expect, it } from 'vitest'
import { subjectsOf } from './subjects.ts'

const icons = (prompt: string) => subjectsOf(prompt).icons

describe('subjectsOf', () => {
  it.each([
    ['a croissant', 'croissant'],
    ['a rocket', 'rocket'],
    ['a sailboat', 'sailboat'],
    ['a wireless speaker', 'speaker-high-volume'],
    ['two polar bears on an iceberg', 'polar-bear'],
    ['how bees make honey', 'honeybee'],
    ['wolves howling', 'wolf'],
    ['strawberries', 'strawberry'],
    ['a pencil', 'pencil'],
    ['minimalist logo of an owl', 'owl'],
    ['a pirate ship', 'ship'],
  ])('shows %s by its own icon', (prompt, icon) => {
    expect(subjectsOf(prompt)).toMatchObject({ icons: expect.arrayContaining([icon]), label: null })
    expect(icons(prompt)[0]).toBe(icon)
  })

  it.each([
    ['a lighthouse', 'lighthouse'],
    ['a typewriter on a desk', 'typewriter'],
    ['a hot air balloon over mountains', 'hot air balloon'],
    ['a fox terrier', 'fox terrier'],
    ['the Eiffel tower', 'eiffel tower'],
    ['why lighthouses went silent', 'lighthouses'],
    ['a squirrel with an acorn', 'squirrel'],
    ['ein Fuchs im Schnee', 'ein fuchs im schnee'],
    ['constructor', 'constructor'],
  ])('sets %s in type rather than draw something else', (prompt, label) => {
    expect(subjectsOf(prompt).label).toBe(label)
  })

  it('lets what has an icon keep a card company', () => {
    expect(subjectsOf('a lighthouse in the rain')).toEqual({ icons: ['cloud-with-rain'], label: 'lighthouse' })
    expect(subjectsOf('a lighthouse')).toEqual({ icons: [], label: 'lighthouse' })
  })

  it('shows what goes with the subject, in the order of the words, at most three things', () => {
    expect(icons('A friendly fox wearing a scarf')).toEqual(['fox', 'scarf'])
    expect(icons('A cat reading a book next to a teapot and a violin')).toEqual(['cat', 'open-book', 'teapot'])
    expect(icons('A fox. holding a lantern. Style: flat vector, clip art')).toEqual(['fox', 'red-paper-lantern'])
  })

  it('takes no style, quality or layout for a thing', () => {
    const asked =
      'A fox, pencil, photo. Style: sticker with a camera, clip art, transparent background. No text, no frame.'
    expect(icons(asked)).toEqual(['fox'])
    expect(icons('cute, friendly, happy sun')).toEqual(['sun'])
  })

  it('leaves out what is denied', () => {
    expect(icons('No people, a castle without flags or dragons')).toEqual(['castle'])
    expect(icons('not a cat but a dog')).toEqual(['dog'])
  })

  it('lets a person that says more stand for "person"', () => {
    expect(icons('Portrait of one person: a farmer with grey hair')).toEqual(['farmer'])
    expect(icons('Portrait of one person: an oceanographer in her forties')).toEqual(['woman'])
  })
})
