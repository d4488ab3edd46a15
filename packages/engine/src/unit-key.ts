// The keys of what a run consists of: made, read and compared here only, since they are durable and shown outside.
// Hides their grammar, in which step and gate ids are the template's names (letters, digits, `-`, `_`):
//
//   unit     = step [ "[" index "]" ]       draw, draw[2]       a step, or one item of a step with forEach
//   part     = unit "#" name                draw[2]#turn-1      a part of a unit that is done once
//   judging  = unit "!" gate                draw[2]!safety      whom a gate asks about a unit
//   slot     = "slots/" index [ "/" step ]  slots/0             a slot in its root's log; its step in an estimate
//   decision = "unknown-outcome:" unit      unknown-outcome:a   the gate at which a person decides about a lost answer
//   call     = run "." (unit | judging) "." number              a provider call
//
// A part's name is its step kind's and may hold anything but `!`.

import { DECISION_GATE } from '@fabrique/schema'

export interface UnitKey {
  stepId: string
  /** Of an item. */
  index?: number | undefined
  /** Of a part. */
  part?: string | undefined
  /** Of a gate's own calls. */
  gateId?: string | undefined
}

const KEY = /^([^[#!]+)(?:\[(\d+)\])?(?:#([^!]+)|!(.+))?$/
const SLOT = /^slots\/(\d+)$/
const DECISION = `${DECISION_GATE}:`

export function itemKey(stepId: string, index: number): string {
  return `${stepId}[${index}]`
}

export function partKey(unitKey: string, name: string): string {
  return `${unitKey}#${name}`
}

export function judgingKey(unitKey: string, gateId: string): string {
  return `${unitKey}!${gateId}`
}

export function slotKey(index: number, stepId?: string): string {
  return stepId === undefined ? `slots/${index}` : `slots/${index}/${stepId}`
}

export function callId(runId: string, key: string, number: number): string {
  return `${runId}.${key}.${number}`
}

/**
 * The gate that is opened for a unit whose paid call has an unknown outcome, whether its own or a gate's about it. By its
 * type it is told from reviews: whoever approves a run's review must not pay for a call again.
 */
export function decisionGate(key: string): { id: string; name: string; type: string } {
  const unitKey = unitKeyOf(key)
  return { id: `${DECISION}${unitKey}`, name: `unknown outcome of ${unitKey}`, type: DECISION_GATE }
}

/** The unit that a `decisionGate` is about; null for any other gate. */
export function decidedUnit(gateId: string): string | null {
  return gateId.startsWith(DECISION) ? gateId.slice(DECISION.length) : null
}

/** The index in a slot's key; null for any other key. */
export function slotIndexOf(key: string): number | null {
  const index = SLOT.exec(key)?.[1]
  return index === undefined ? null : Number(index)
}

/** What a key of a unit, a part or a gate's calls says; null for a key of another kind. */
export function parseUnitKey(key: string): UnitKey | null {
  const [, stepId, index, part, gateId] = KEY.exec(key) ?? []
  if (stepId === undefined) return null
  return { stepId, index: index === undefined ? undefined : Number(index), part, gateId }
}

/** The step that a key belongs to; a slot's key is its own. */
export function stepIdOf(key: string): string {
  return parseUnitKey(key)?.stepId ?? key
}

/** The unit that a part's or a gate's key belongs to. */
export function unitKeyOf(key: string): string {
  return key.split(/[#!]/, 1)[0] as string
}

/** Whether a key is the unit itself, an item of it, or a part of either; what gates ask about it is not. */
export function isWithin(key: string, unitKey: string): boolean {
  return !key.includes('!') && key.startsWith(unitKey) && [undefined, '[', '#'].includes(key[unitKey.length])
}

/** Whether a key is that of an item itself. */
export function isItem(key: string): boolean {
  const { index, part, gateId } = parseUnitKey(key) ?? {}
  return index !== undefined && part === undefined && gateId === undefined
}
