// What every provider client must hold, live or simulated, as tests.
// Hides what a provider is asked; the set-up brings one request that it serves.
import { describe, expect, it, onTestFinished } from 'vitest'
import type { ProviderClient, ProviderRequest } from '../catalog.ts'
import { StepFailure } from '../failure.ts'

/** A client, and a request that it serves. */
export interface ProviderClientSetup {
  client: ProviderClient
  request: Omit<ProviderRequest, 'signal' | 'onRequestId' | 'onProgress' | 'resumeId' | 'callId'>
  dispose(): Promise<void>
}

/** Defines the contract's tests for the client that `open` makes; each test opens its own. */
export function providerClientContract(name: string, open: () => Promise<ProviderClientSetup>): void {
  async function setup() {
    const opened = await open()
    onTestFinished(() => opened.dispose())
    const requestIds: string[] = []
    const request = (over: Partial<ProviderRequest> = {}): ProviderRequest => ({
      ...opened.request,
      callId: 'run.step.1',
      signal: new AbortController().signal,
      resumeId: null,
      onRequestId: async (id) => void requestIds.push(id),
      onProgress: () => {},
      ...over,
    })
    return { client: opened.client, request, requestIds }
  }

  describe(name, () => {
    it('answers with plain values, named files with bytes, and usage that is not negative', async () => {
      const { client, request } = await setup()
      const { output, files, usage } = await client.call(request())
      expect(JSON.parse(JSON.stringify(output))).toEqual(output)
      for (const file of files) {
        expect(file.name).not.toBe('')
        expect(file.mimeType).toMatch(/^[a-z]+\/[a-z0-9.+-]+$/)
        expect(file.bytes.byteLength).toBeGreaterThan(0)
      }
      expect(files.length + Object.keys(output).length).toBeGreaterThan(0)
      for (const { quantity } of usage) expect(quantity).toBeGreaterThanOrEqual(0)
    })

    it('names its request at most once, before it answers', async () => {
      const { client, request, requestIds } = await setup()
      await client.call(request())
      expect(requestIds.length).toBeLessThanOrEqual(1)
    })

    it('does nothing for a signal that is aborted already, and says so by a failure', async () => {
      const { client, request, requestIds } = await setup()
      const call = client.call(request({ signal: AbortSignal.abort('cancel') }))
      await expect(call).rejects.toSatisfy(StepFailure.is)
      expect(requestIds).toEqual([])
    })

    it('leaves its request as it was', async () => {
      const { client, request } = await setup()
      const given = request()
      const before = structuredClone(given.request)
      await client.call(given)
      expect(given.request).toEqual(before)
    })
  })
}
