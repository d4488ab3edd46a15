import { createHash } from 'node:crypto'
import type { GateKind, Model } from '@fabrique/engine'
import { anArtifact } from '@fabrique/engine/testing'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { inspect } from '../inspect.ts'
import { aGradient } from '../testing/pictures.ts'
import { backgroundRemoval } from './background-removal.ts'
import { providerExecution } from './provider-execution.ts'
import { storageMetadata } from './storage-metadata.ts'

type Judge<Stands> =
  Extract<GateKind, { stands: Stands }> extends { judge: infer J extends (_: never) => unknown } ? J : never
type Evidence = Parameters<Judge<'end'>>[0] & Parameters<Judge<'after-step'>>[0]
type Verdict = Awaited<ReturnType<Judge<'end'>>>

/** A file as it is after a step has stored it. */
async function stored(bytes: Uint8Array, saidToBe: string, promised?: string) {
  const { problem: _, ...facts } = await inspect(bytes, saidToBe, promised)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  return { record: anArtifact('file', { ...facts, bytes: bytes.byteLength, sha256 }), bytes }
}

/** What `storage metadata` finds where a template promises this type of a file that came with that header. */
async function atEnd(bytes: Uint8Array, saidToBe: string, mimeType: string): Promise<Verdict> {
  const { record } = await stored(bytes, saidToBe, mimeType)
  const evidence = { files: [{ role: 'page', mimeType, found: record }], read: async () => bytes }
  return await judge(storageMetadata, evidence as unknown as Evidence)
}

async function afterStep(gate: GateKind, capability: Model['capability'], bytes: Uint8Array, saidToBe: string) {
  const evidence = { model: { capability }, artifacts: [await stored(bytes, saidToBe)], output: {} }
  return await judge(gate, evidence as unknown as Evidence)
}

async function judge(gate: GateKind, evidence: Evidence): Promise<Verdict> {
  if (!('judge' in gate)) throw new Error(`${gate.name} judges nothing`)
  return await gate.judge(evidence)
}

describe('the gate of stored files', () => {
  it('compares what was promised with what was found, by any name of the type', async () => {
    const jpeg = await aGradient(4, 4).jpeg().toBuffer()
    expect(await atEnd(jpeg, 'application/octet-stream', 'image/jpeg')).toEqual({ passed: true })
    expect(await atEnd(jpeg, '', 'image/jpg')).toEqual({ passed: true })
    expect(await atEnd(jpeg, 'image/webp', 'image/webp')).toEqual({
      passed: false,
      detail: 'the file "page" is image/jpeg, not image/webp',
    })
  })

  it('takes plain text for any text that it reads as', async () => {
    const text = (words: string) => Buffer.from(words)
    expect(await atEnd(text('# Fox'), '', 'text/markdown')).toEqual({ passed: true })
    expect(await atEnd(text('{"a":1}'), 'text/plain', 'application/json')).toEqual({ passed: true })
    expect(await atEnd(text('{"a":'), 'text/plain', 'application/json')).toMatchObject({ passed: false })
    expect(await atEnd(text('no such key'), '', 'text/html')).toMatchObject({ passed: false })
    expect(await atEnd(text('<html>gone</html>'), '', 'text/markdown')).toMatchObject({ passed: false })
    expect(await atEnd(text('plain'), '', 'image/png')).toMatchObject({ passed: false })
  })
})

describe('the gate of what a provider answers', () => {
  it('names what was answered and what must be', async () => {
    const text = Buffer.from('a caption')
    const png = await aGradient(4, 4).png().toBuffer()
    expect(await afterStep(providerExecution, 'image', png, 'video/mp4')).toEqual({ passed: true })
    expect(await afterStep(providerExecution, 'media', text, '')).toEqual({ passed: true })
    expect(await afterStep(providerExecution, 'video', png, 'video/mp4')).toEqual({
      passed: false,
      detail: 'the provider answered image/png, and must answer video/…',
    })
  })
})

describe('the gate of a removed background', () => {
  it('sees transparency in 8 bits and in 16', async () => {
    for (const [depth, most] of [
      ['rgb16', 65_535],
      ['srgb', 255],
    ] as const) {
      const cut = (alphas: number[]) => {
        const samples = alphas.flatMap((alpha) => [most, 0, 0, alpha])
        const raw = most > 255 ? Uint16Array.from(samples) : Uint8Array.from(samples)
        return sharp(raw, { raw: { width: 2, height: 2, channels: 4 } })
          .toColourspace(depth)
          .png()
          .toBuffer()
      }
      const verdict = async (alphas: number[]) => await afterStep(backgroundRemoval, 'matte', await cut(alphas), '')
      expect(await verdict([most, most, 0, 0]), depth).toEqual({ passed: true })
      expect(await verdict([most, most, most, most]), depth).toMatchObject({
        detail: expect.stringContaining('is gone'),
      })
      expect(await verdict([0, 0, 0, 0]), depth).toMatchObject({ detail: expect.stringContaining('is left') })
    }
  })
})
