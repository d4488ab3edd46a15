// The lines of a request body, numbered from 1, each of bounded length.
// Hides that chunks end in mid-line. A line that is too long is skipped without being kept in memory.

export interface Line {
  number: number
  /** Without its end; null where it is longer than allowed. */
  bytes: Uint8Array | null
}

const NEWLINE = 0x0a
const RETURN = 0x0d

/** The lines of `body` that are not blank. Rejects where the body breaks off, and drops its unfinished line. */
export async function* readLines(
  body: AsyncIterable<Uint8Array>,
  lineLimitBytes: number,
): AsyncGenerator<Line, void, void> {
  let number = 1
  let parts: Uint8Array[] = []
  let sizeBytes = 0

  function keep(part: Uint8Array): void {
    sizeBytes += part.byteLength
    // Two bytes more for CR LF, which are not part of the line.
    if (sizeBytes > lineLimitBytes + 2) parts = []
    else parts.push(part)
  }

  function take(): Line | null {
    const whole = parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts)
    const bytes = whole.at(-1) === RETURN ? whole.subarray(0, -1) : whole
    const tooLong = sizeBytes > lineLimitBytes + 2 || bytes.byteLength > lineLimitBytes
    const line = { number, bytes: tooLong ? null : bytes }
    number += 1
    parts = []
    sizeBytes = 0
    return line.bytes === null || !isBlank(line.bytes) ? line : null
  }

  for await (const chunk of body) {
    let from = 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, from)) {
      keep(chunk.subarray(from, end))
      from = end + 1
      const line = take()
      if (line !== null) yield line
    }
    if (from < chunk.byteLength) keep(chunk.subarray(from))
  }
  const last = take()
  if (last !== null) yield last
}

/** Files that begin with a byte order mark may stand behind each other, so it counts as nothing on any line. */
function isBlank(bytes: Uint8Array): boolean {
  const isMarked = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf
  return bytes.subarray(isMarked ? 3 : 0).every((byte) => byte === 0x20 || byte === 0x09 || byte === RETURN)
}
