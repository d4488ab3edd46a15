import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { inlineFiles } from './file-fields.ts'

function setup() {
  const folder = mkdtempSync(join(tmpdir(), 'fabrique-files-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(join(folder, 'a.png'), 'abc')
  const layers = [{ value: {}, folder, placeOf: (pointer: string) => `spec.yaml${pointer}` }]
  return { layers, at: '', limitBytes: 10 }
}

const ABC = 'data:image/png;base64,YWJj'

describe('a file field', () => {
  it('gets the file beside its spec, wherever it stands, and nothing else changes', async () => {
    const fields = ['/one', '/list/*', '/deep/*/file']
    const input = { one: 'a.png', two: 'a.png', list: ['a.png', ABC], deep: [{ file: 'a.png', name: 'a.png' }] }
    expect(await inlineFiles(input, fields, setup())).toEqual({
      one: ABC,
      two: 'a.png',
      list: [ABC, ABC],
      deep: [{ file: ABC, name: 'a.png' }],
    })
  })

  it('takes an artifact of another run as its bytes', async () => {
    const artifact = async () => ({ bytes: Buffer.from('abc'), mimeType: 'image/png' })
    expect(await inlineFiles({ one: { id: 'x' } }, ['/one'], { ...setup(), artifact })).toEqual({ one: ABC })
    expect(await inlineFiles({ one: { id: 'x' } }, ['/one'], setup())).toEqual({ one: { id: 'x' } })
  })

  it('is refused at its place where there is no such file, or it is too large', async () => {
    const options = setup()
    const inline = (name: string, limits = {}) => inlineFiles({ one: name }, ['/one'], { ...options, ...limits })
    await expect(inline('b.png')).rejects.toThrow(/^spec\.yaml\/one: there is no file b\.png/)
    await expect(inline('.')).rejects.toThrow(/^spec\.yaml\/one: /)
    await expect(inline('a.png', { limitBytes: 2 })).rejects.toThrow(/3 bytes.*at most 2/)
  })
})
