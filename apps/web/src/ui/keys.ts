// Keys of the keyboard, with what each does: the help is made from what is bound at the moment.
// Hides sequences such as `o r`, and that keys in fields and dialogs belong to those.
import { useEffect, useRef, useSyncExternalStore } from 'react'

export interface Binding {
  /** As `KeyboardEvent.key` says it; two with a space between are pressed one after the other. */
  keys: string
  does: string
  /** In the help, where it is not `keys` alone; empty for a key that another one's line includes. */
  shown?: readonly string[]
  run(event: KeyboardEvent): void
}
export interface BoundGroup {
  title: string
  bindings: readonly Binding[]
}

const SEQUENCE_MS = 1_200
let groups: readonly BoundGroup[] = []
const listeners = new Set<() => void>()

function set(next: readonly BoundGroup[]): void {
  groups = next
  for (const listener of listeners) listener()
}

/** Binds these keys as long as the component is there. */
export function useKeys(title: string, bindings: readonly Binding[]): void {
  const latest = useRef(bindings)
  latest.current = bindings
  useEffect(() => {
    const group: BoundGroup = {
      title,
      get bindings() {
        return latest.current
      },
    }
    set([...groups, group])
    return () => set(groups.filter((one) => one !== group))
  }, [title])
}

/** What is bound at the moment. */
export function useBoundKeys(): readonly BoundGroup[] {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    () => groups,
  )
}

let first = ''
let firstAtMs = 0

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || belongsElsewhere(event.target)) return
  const bound = groups.flatMap(({ bindings }) => bindings)
  const isSecond = first !== '' && event.timeStamp - firstAtMs < SEQUENCE_MS
  const found =
    (isSecond ? bound.find(({ keys }) => keys === `${first} ${event.key}`) : undefined) ??
    bound.findLast(({ keys }) => keys === event.key)
  first = ''
  if (found !== undefined) {
    event.preventDefault()
    found.run(event)
  } else if (bound.some(({ keys }) => keys.startsWith(`${event.key} `))) {
    first = event.key
    firstAtMs = event.timeStamp
  }
})

function belongsElsewhere(target: EventTarget | null): boolean {
  if (document.querySelector('dialog[open]') !== null) return true
  if (!(target instanceof HTMLElement)) return false
  return target.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(target.tagName)
}
