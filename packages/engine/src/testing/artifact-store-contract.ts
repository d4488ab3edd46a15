// What every artifact store must hold, as tests.
// Hides where bytes lie.
import { createHash } from 'node:crypto'
import { FabriqueError } from '@fabrique/schema'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { ArtifactStore, StagedAnswer } from '../ports.ts'

/** An empty store. */
export interface ArtifactStoreSetup {
  store: ArtifactStore
  dispose(): Promise<void>
  /** Makes the store unreachable; for a store that can be. */
  goAway?(): Promise<void>
}

const BYTES = Uint8Array.from([0, 255, 10, 13, 128, 7])

/** Defines the contract's tests for the store that `open` makes; each test opens its own. */
export function artifactStoreContract(name: string, open: () => Promise<ArtifactStoreSetup>): void {
  async function opened() {
    const one = await open()
    onTestFinished(() => one.dispose())
    return one
  }
  const setup = async () => (await opened()).store

  describe(name, () => {
    it('gives back the bytes that it was given, under their hash', async () => {
      const store = await setup()
      const { storageKey, sha256 } = await store.put('org_1', BYTES, 'image/png')
      expect(sha256).toBe(createHash('sha256').update(BYTES).digest('hex'))
      expect(storageKey).toContain(sha256)
      expect(Uint8Array.from(await store.get(storageKey))).toEqual(BYTES)
    })

    it('stores the same bytes under one key, and other organizations under another', async () => {
      const store = await setup()
      const puts = await Promise.all(Array.from({ length: 10 }, () => store.put('org_1', BYTES, 'image/png')))
      expect(new Set(puts.map(({ storageKey }) => storageKey)).size).toBe(1)
      const foreign = await store.put('org_2', BYTES, 'image/png')
      expect(foreign.storageKey).not.toBe(puts[0]?.storageKey)
      expect(Uint8Array.from(await store.get(puts[0]?.storageKey ?? ''))).toEqual(BYTES)
    })

    it('says of a key that it has nothing for that the file is gone', async () => {
      const store = await setup()
      const { storageKey } = await store.put('org_1', BYTES, 'image/png')
      await expect(store.get(storageKey.replaceAll(/[0-9]/g, 'a'))).rejects.toMatchObject({ code: 'artifact-gone' })
    })

    it.each([
      ['no bytes', 0],
      ['some megabytes', 3_000_001],
    ])('keeps %s as they are', async (_, size) => {
      const store = await setup()
      const bytes = Uint8Array.from({ length: size }, (_, index) => (index * 31) % 251)
      const { storageKey } = await store.put('org_1', bytes, 'video/mp4')
      expect(Buffer.compare(await store.get(storageKey), bytes)).toBe(0)
    })

    it('hands out a file in parts: all of it, and a range', async () => {
      const store = await setup()
      const bytes = Buffer.from(Uint8Array.from({ length: 9_000_001 }, (_, index) => (index * 31) % 251))
      const { storageKey } = await store.put('org_1', bytes, 'video/mp4')
      const file = await store.open(storageKey)
      expect(file.size).toBe(bytes.byteLength)
      for (const [first, last] of [
        [0, file.size - 1],
        [3, 5],
        [4_194_300, 8_388_610],
      ] as const) {
        const parts = await Array.fromAsync(file.read(first, last))
        expect(Buffer.compare(Buffer.concat(parts), bytes.subarray(first, last + 1))).toBe(0)
      }
      const empty = await store.put('org_1', new Uint8Array(0), 'text/plain')
      const nothing = await store.open(empty.storageKey)
      expect([nothing.size, Buffer.concat(await Array.fromAsync(nothing.read(0, -1))).byteLength]).toEqual([0, 0])
      const strange = storageKey.replaceAll(/[0-9]/g, 'a')
      await expect(store.open(strange)).rejects.toMatchObject({ code: 'artifact-gone' })
    })

    it('follows no key that it did not make', async () => {
      const store = await setup()
      const { storageKey } = await store.put('org_1', BYTES, 'image/png')
      await store.stage('call', { output: {}, files: [], usage: [] })
      const staged = `staging/${createHash('sha256').update('call').digest('hex')}`
      const keys = [
        '',
        '/',
        `/${storageKey}`,
        `x/../${storageKey}`,
        `${storageKey}?x=1`,
        encodeURIComponent(storageKey),
        staged,
      ]
      for (const key of keys) await expect(store.get(key), key).rejects.toThrow()
    })

    it('keeps a staged answer whole until it is taken away', async () => {
      const store = await setup()
      const answer: StagedAnswer = {
        output: { text: 'ü "x"', nested: { list: [1, null, true] } },
        files: [
          { name: 'a', mimeType: 'image/png', bytes: BYTES },
          { name: 'b', mimeType: 'audio/wav', bytes: new Uint8Array(0) },
          { name: 'c', mimeType: 'text/plain', bytes: new TextEncoder().encode('last') },
        ],
        usage: [{ unit: 'megapixel', quantity: 1.5, facts: { quality: 'high' } }],
      }
      expect(await store.staged('run.step.1')).toBeNull()
      await store.stage('run.step.1', answer)
      const found = await store.staged('run.step.1')
      expect(
        found && { ...found, files: found.files.map((file) => ({ ...file, bytes: Uint8Array.from(file.bytes) })) },
      ).toEqual(answer)
      expect(await store.staged('run.step.2')).toBeNull()
      await store.unstage('run.step.1')
      await store.unstage('run.step.1')
      expect(await store.staged('run.step.1')).toBeNull()
    })

    it('stages a call again over what it had', async () => {
      const store = await setup()
      for (const text of ['first, and longer', 'second']) {
        await store.stage('c', { output: { text }, files: [], usage: [] })
      }
      expect((await store.staged('c'))?.output).toEqual({ text: 'second' })
    })

    it('tells a store that is away from one that has nothing', async (test) => {
      const { store, goAway } = await opened()
      if (goAway === undefined) return test.skip()
      const { storageKey } = await store.put('org_1', BYTES, 'image/png')
      const answer: StagedAnswer = { output: {}, files: [], usage: [] }
      await goAway()
      const isAway = (error: unknown) => FabriqueError.is(error, 'unavailable')
      await expect(store.get(storageKey)).rejects.toSatisfy(isAway)
      await expect(store.put('org_1', BYTES, 'image/png')).rejects.toSatisfy(isAway)
      await expect(store.ready()).rejects.toSatisfy(isAway)
      await expect(store.stage('call', answer)).rejects.toSatisfy(isAway)
      await expect(store.staged('call')).rejects.toSatisfy(isAway)
      // What is booked needs no safekeeping: a run does not wait for its cleaning up.
      await expect(store.unstage('call')).resolves.toBeUndefined()
    })

    it('is ready for more', async () => {
      await expect((await setup()).ready()).resolves.toBeUndefined()
    })

    it('takes any text as a call id', async () => {
      const store = await setup()
      for (const id of ['../../etc/passwd', 'a/b', 'x'.repeat(500), 'ü\u0000']) {
        await store.stage(id, { output: { id }, files: [], usage: [] })
        expect((await store.staged(id))?.output).toEqual({ id })
      }
    })
  })
}
