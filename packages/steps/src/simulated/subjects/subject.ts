/**
 * What a subject is: its words and its drawing. Families of subjects live beside this file, one entry each.
 */
import type { Chance } from '../chance.ts'
import type { Pen } from '../pen.ts'

export interface Subject {
  readonly name: string
  /** Words and phrases that ask for it, singular; plurals in -s and -es are understood. */
  readonly words: readonly string[]
  /** Its own colours, one of which is chosen; without them it takes one from the palette. */
  readonly natural?: readonly string[]
  /** It hangs in the air: no shadow on the ground. */
  readonly floats?: true
  /** It is a bust: in a picture that is not cut out it stands on the lower edge. */
  readonly bust?: true
  /** The x that belongs in the middle of the picture; 200 unless a tail or wing makes it lopsided. */
  readonly centre?: number
  /** Half the width of its shadow on the ground, in drawing units. */
  readonly footing?: number
  /** Draws it in the 400 × 400 box, its feet at y = 372. The chance varies details that no word decides. */
  readonly draw: (pen: Pen, chance: Chance) => string
}
