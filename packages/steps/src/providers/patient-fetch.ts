// How providers are reached: without the time limits of undici's own, and with a bound on what they may answer.
// Hides that a connection may stay silent for as long as a step allows; the caller's signal ends it.
import { Agent, fetch, Response } from 'undici'

const MIB = 1024 * 1024
/** Pictures and sound come with the answer; of text nobody writes as much. */
const MEDIA = /\/(images|audio)\//
const [MEDIA_MIB_MAX, TEXT_MIB_MAX] = [128, 16]
const CONNECT_MS = 30_000

/** `fetch` for calls of providers: a redirect, and more than 128 MiB (text: 16 MiB), is an error, and only `signal` limits the time. */
export function createPatientFetch(): typeof globalThis.fetch {
  const dispatcher = new Agent({ headersTimeout: 0, bodyTimeout: 0, connect: { timeout: CONNECT_MS } })
  const patient = async (input: string | URL, init?: object) => {
    const answer = await fetch(input, { ...init, redirect: 'error', dispatcher })
    if (answer.body === null) return answer
    const mibMax = MEDIA.test(new URL(input).pathname) ? MEDIA_MIB_MAX : TEXT_MIB_MAX
    let bytes = 0
    const bounded = new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        bytes += chunk.byteLength
        if (bytes > mibMax * MIB) controller.error(new Error(`a provider answered more than ${mibMax} MiB`))
        else controller.enqueue(chunk)
      },
    })
    const { status, statusText, headers } = answer
    return new Response(answer.body.pipeThrough(bounded as never), { status, statusText, headers })
  }
  return patient as unknown as typeof globalThis.fetch
}
