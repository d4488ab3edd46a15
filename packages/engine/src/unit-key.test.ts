import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  decidedUnit,
  decisionGate,
  isWithin,
  itemKey,
  judgingKey,
  parseUnitKey,
  partKey,
  slotIndexOf,
  slotKey,
  stepIdOf,
  type UnitKey,
  unitKeyOf,
} from './unit-key.ts'

/** The names that the template schema allows; those of parts may hold more. */
const name = fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_-]{0,63}$/)
const index = fc.nat(100_000)
const unit = fc.oneof(fc.record({ stepId: name }), fc.record({ stepId: name, index }))
const key: fc.Arbitrary<UnitKey> = fc.oneof(
  unit,
  fc.tuple(unit, fc.stringMatching(/^[a-z0-9/[\]#.-]{1,20}$/)).map(([one, part]) => ({ ...one, part })),
  fc.tuple(unit, name).map(([one, gateId]) => ({ ...one, gateId })),
)

function write({ stepId, index: at, part, gateId }: UnitKey): string {
  const unitKey = at === undefined ? stepId : itemKey(stepId, at)
  if (part !== undefined) return partKey(unitKey, part)
  return gateId === undefined ? unitKey : judgingKey(unitKey, gateId)
}

describe('a unit key', () => {
  it('reads as what it was made of, and so do its step and unit', () => {
    fc.assert(
      fc.property(key, (made) => {
        const { stepId, index: at } = made
        expect(parseUnitKey(write(made))).toEqual(made)
        expect(stepIdOf(write(made))).toBe(stepId)
        expect(unitKeyOf(write(made))).toBe(write(at === undefined ? { stepId } : { stepId, index: at }))
      }),
    )
  })

  it('is within its step and its unit, never within another step, and not where a gate asks', () => {
    fc.assert(
      fc.property(key, name, (made, other) => {
        const text = write(made)
        expect(isWithin(text, made.stepId)).toBe(made.gateId === undefined)
        expect(isWithin(text, unitKeyOf(text))).toBe(made.gateId === undefined)
        expect(isWithin(text, other)).toBe(made.gateId === undefined && other === made.stepId)
      }),
    )
  })

  it('tells one item from another that begins alike', () => {
    expect(isWithin('draw[12]#turn-1', 'draw[1]')).toBe(false)
    expect(isWithin('draw-again', 'draw')).toBe(false)
  })

  it.each(['', '[2]', '#turn-1', 'draw[', 'draw[x]', 'draw[2]x', 'draw!'])('is not read from %j', (text) => {
    expect(parseUnitKey(text)).toBeNull()
  })
})

describe('the key of a slot', () => {
  it('reads as its index, and is a key of its own', () => {
    fc.assert(
      fc.property(index, name, (at, stepId) => {
        expect(slotIndexOf(slotKey(at))).toBe(at)
        expect(slotIndexOf(stepId)).toBeNull()
        expect(stepIdOf(slotKey(at))).toBe(slotKey(at))
      }),
    )
  })
})

describe('the gate of an unknown outcome', () => {
  it('is about the unit, also when a call of a gate that judges it was lost', () => {
    fc.assert(
      fc.property(key, (made) => {
        expect(decidedUnit(decisionGate(write(made)).id)).toBe(unitKeyOf(write(made)))
      }),
    )
    expect(decidedUnit('review')).toBeNull()
  })
})
