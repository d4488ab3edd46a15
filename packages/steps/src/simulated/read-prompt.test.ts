import { describe, expect, it } from 'vitest'
import { readPrompt } from './read-prompt.ts'

const read = (prompt: string) => {
  const wish = readPrompt(prompt, () => 0)
  return {
    ...wish,
    names: wish.subjects.map((subject) => subject.name),
    styleName: wish.style.name,
    sceneName: wish.scene?.name,
  }
}

describe('readPrompt', () => {
  it('finds subjects by synonym and plural, at word boundaries only', () => {
    expect(read('Two vixens at dusk').names).toEqual(['fox'])
    expect(read('a category of carpets').names).not.toContain('cat')
    expect(read('a cat and an owl').names).toEqual(['cat', 'owl'])
    expect(read('a robot dog').names).toEqual(['dog'])
  })

  it('does not mistake style words, negations and set phrases for subjects', () => {
    expect(read('A fox. Style: flat vector, bold outlines, like a star in a book').names).toEqual(['fox'])
    expect(read('a fox, no people, without a tree').names).toEqual(['fox'])
    expect(read("a rabbit from a children's book, lots of white space").names).toEqual(['rabbit'])
    expect(read("a rabbit from a children's book, lots of white space").sceneName).toBeUndefined()
    expect(read('a mountain landscape')).toMatchObject({ names: [], sceneName: 'landscape' })
  })

  it('lets the more telling style word win', () => {
    expect(read('a fox, flat vector, bold outlines, clean shapes').styleName).toBe('flat')
    expect(read('a doodle coloring page of a fox').styleName).toBe('colouring-page')
    expect(read('flat vector sticker of a fox').styleName).toBe('sticker')
    expect(read('a fox').styleName).toBe('flat')
  })

  it('gives each colour to the word it stands before', () => {
    const wish = read('a white fox wearing a blue scarf and a red hat on a yellow background')
    expect(wish.look.tint).toBe('#f7f7f4')
    expect(Object.fromEntries(wish.look.wears)).toEqual({ scarf: '#3f7fd0', beanie: '#dc4638' })
    expect(wish.backdrop).toBe('#f6c944')
    expect(read('a fox with bold black outlines').look.tint).toBeUndefined()
  })
})
