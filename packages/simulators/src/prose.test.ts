import { describe, expect, it } from 'vitest'
import { createChance } from './chance.ts'
import { createWriter } from './prose.ts'
import { writeText } from './write-text.ts'

describe('a writer', () => {
  it('says nothing twice in a hundred sentences, and is always about the subject, whatever the seed', () => {
    for (let seed = 0; seed < 200; seed++) {
      const writer = createWriter('Write an essay about octopus hearts and cold water.', createChance(`${seed}`))
      const sentences = Array.from({ length: 100 }, () => writer.sentence())
      expect(new Set(sentences).size).toBe(100)
      for (const sentence of sentences) expect(sentence).toContain('octopus hearts')
    }
  })

  it('repeats no title and no hook among its first eight', () => {
    for (let seed = 0; seed < 50; seed++) {
      const writer = createWriter('Hooks about tea', createChance(`${seed}`))
      expect(new Set(Array.from({ length: 8 }, () => writer.title())).size).toBe(8)
      expect(new Set(Array.from({ length: 8 }, () => writer.hook())).size).toBe(8)
    }
  })

  it('makes a question its subject, not its clause', () => {
    expect(createWriter('Topic: why lighthouses went silent.', createChance('1')).sentence()).toContain(' lighthouses')
  })
})

describe('a simulated text', () => {
  it('holds no sentence twice, however many paragraphs are asked for', () => {
    for (let seed = 0; seed < 100; seed++) {
      const { text } = writeText({ prompt: 'Write 12 paragraphs about foxes and rain', seed })
      const sentences = text.split(/(?<=\.)\s+/)
      expect(sentences.length).toBeGreaterThan(30)
      expect(new Set(sentences).size).toBe(sentences.length)
    }
  })
})
