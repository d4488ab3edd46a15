// JSON pointers (RFC 6901) one key at a time. Beside @fabrique/schema's own, because the compiling thread starts
// without it.

/** The pointer of a member: `memberOf('/input', 'a/b')` is `/input/a~1b`. */
export function memberOf(pointer: string, key: string | number): string {
  return `${pointer}/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`
}

/** Names that reach into a prototype; refused as keys wherever a stranger names something. */
export function isPrototypeKey(key: string): boolean {
  return key === '__proto__' || key === 'constructor' || key === 'prototype'
}
