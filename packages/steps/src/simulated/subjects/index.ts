/**
 * Every subject that can be drawn, one line per family, and the search for the words that ask for them.
 */
import { animals } from './animals.ts'
import { birds } from './birds.ts'
import { fox } from './fox.ts'
import { nature } from './nature.ts'
import { people } from './people.ts'
import type { Subject } from './subject.ts'
import { things } from './things.ts'
import { creature, emblem } from './unknown.ts'
import { vehicles } from './vehicles.ts'

export const subjects: readonly Subject[] = [
  fox,
  ...animals,
  ...birds,
  ...nature,
  ...things,
  ...vehicles,
  creature,
  emblem,
  ...people,
]
