/**
 * Words as vector paths by a font that comes along: slim images have no fonts, and paths look the same everywhere.
 * It hides the font file, measuring and wrapping.
 */
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import type { Font } from 'opentype.js'

let opened: Promise<Font[]> | undefined

/** Letters of Western, Central European and Cyrillic alphabets, in this order of preference; read at the first word. */
async function openFonts(): Promise<Font[]> {
  const require = createRequire(import.meta.url)
  const { parse } = require('opentype.js') as { parse(bytes: ArrayBuffer): Font }
  const files = [
    require.resolve('@fontsource/nunito/files/nunito-latin-800-normal.woff'),
    require.resolve('@fontsource/nunito/files/nunito-latin-ext-800-normal.woff'),
    require.resolve('@fontsource/nunito/files/nunito-cyrillic-800-normal.woff'),
  ]
  return await Promise.all(files.map(async (file) => parse(new Uint8Array(await readFile(file)).buffer)))
}

/** A line of text as the `d` of a path that begins at 0,0 on its baseline. */
export interface Line {
  readonly d: string
  readonly width: number
}

/** Sets one line of this letter height. Letters that the font lacks are left out: a line of none has no width. */
export async function setLine(text: string, size: number): Promise<Line> {
  opened ??= openFonts()
  const fonts = await opened
  let d = ''
  let width = 0
  for (const letter of text.normalize('NFC')) {
    const font = fonts.find((one) => one.charToGlyphIndex(letter) > 0)
    if (font === undefined) continue
    const glyph = font.charToGlyph(letter)
    d += glyph.getPath(width, 0, size).toPathData(2)
    width += ((glyph.advanceWidth ?? 0) * size) / font.unitsPerEm
  }
  return { d, width }
}

/** Wraps a text into a box of this width and height: the largest letters up to `size` that fit, at least a third of it. */
export async function setText(text: string, size: number, width: number, height: number) {
  for (let share = 1; ; share -= 0.1) {
    const letters = size * share
    const lines: Line[] = []
    let words = ''
    for (const word of [...text.split(/\s+/).filter(Boolean), '']) {
      const longer = words === '' ? word : `${words} ${word}`
      if (word !== '' && (words === '' || (await setLine(longer, letters)).width <= width)) words = longer
      else {
        const line = await setLine(words, letters)
        if (line.width > 0) lines.push(line)
        words = word
      }
    }
    const fits = lines.length * letters * 1.15 <= height && lines.every((line) => line.width <= width)
    if (fits || share < 0.35) return { lines, letters }
  }
}
