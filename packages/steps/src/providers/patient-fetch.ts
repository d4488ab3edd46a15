// How providers are reached: without the time limits of undici's own, and with a bound on what they may answer.
// Hides that a connection may stay silent for as long as a step allows; the caller's signal ends it.
import { Agent, fetch, Response } from 'undici'

const BYTES_MAX = 128 * 1024 * 1024
const CONNECT_MS = 30_000

/** `fetch` for calls of providers: a redirect or more than 128 MiB is an error, and only `signal` limits the time. */
export function createPatientFetch(): typeof globalThis.fetch {
  const dispatcher = new Agent({ headersTimeout: 0, bodyTimeout: 0, connect: { timeout: CONNECT_MS } })
  const patient = async (input: string | URL, init?: object) => {
    const answer = await fetch(input, { ...init, redirect: 'error', dispatcher })
    if (answer.body === null) return answer
    let bytes = 0
    const bounded = new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        bytes += chunk.byteLength
        if (bytes > BYTES_MAX) controller.error(new Error('a provider answered more than 128 MiB'))
        else controller.enqueue(chunk)
      },
    })
    const { status, statusText, headers } = answer
    return new Response(answer.body.pipeThrough(bounded as never), { status, statusText, headers })
  }
  return patient as unknown as typeof globalThis.fetch
}
