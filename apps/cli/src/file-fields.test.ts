import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { inlineFiles } from './file-fields.ts'

function setup() {
  const folder = mkdtempSync(join(tmpdir(), 'fabrique-files-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(join(folder, 'a.png'), 'abc')
  const layers = [{ value: {}, folder, placeOf: (pointer: string) => `spec.yaml${pointer}` }]
  const said: string[] = []
  const say = (line: string) => void said.push(line)
  return { layers, at: '', limitBytes: 10, allowFilesOutside: false, say, said, folder }
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

  it('is read below the folder of its document only, links resolved, unless files outside are allowed', async () => {
    const { folder, ...options } = setup()
    const inner = join(folder, 'inner')
    mkdirSync(join(inner, '..cats'), { recursive: true })
    writeFileSync(join(inner, '..cats/a.png'), 'abc')
    symlinkSync(join(folder, 'a.png'), join(inner, 'link.png'))
    symlinkSync(folder, join(inner, 'links'))
    const layers = options.layers.map((layer) => ({ ...layer, folder: inner }))
    const read = (one: string, allowFilesOutside: boolean) =>
      inlineFiles({ one }, ['/one'], { ...options, layers, allowFilesOutside })
    for (const name of ['../a.png', join(folder, 'a.png'), 'link.png', 'links/a.png']) {
      await expect(read(name, false)).rejects.toThrow(/^spec\.yaml\/one: .* is not below .*--allow-files-outside/)
      expect(await read(name, true)).toEqual({ one: ABC })
    }
    expect(await read('..cats/a.png', false)).toEqual({ one: ABC })
  })

  it('is said with its place before it is sent, as the schema and not the text makes it a file', async () => {
    const options = setup()
    await inlineFiles({ one: 'a.png', two: 'a.png', three: ABC }, ['/one', '/three'], options)
    expect(options.said).toEqual([`spec.yaml/one: reading the file ${join(options.folder, 'a.png')}`])
  })

  it('is never named by what a run gave', async () => {
    const { layers, ...options } = setup()
    const given = [{ value: { one: 'a.png' }, folder: null, placeOf: () => 'set.yaml:3:5' }]
    const inline = inlineFiles({ one: 'a.png' }, ['/one'], {
      ...options,
      layers: [...layers, ...given],
      allowFilesOutside: true,
    })
    await expect(inline).rejects.toThrow('set.yaml:3:5: what a run gave is text and never names a file')
    expect(options.said).toEqual([])
  })

  it('is refused at its place where there is no such file, or it is too large', async () => {
    const options = setup()
    const inline = (name: string, limits = {}) => inlineFiles({ one: name }, ['/one'], { ...options, ...limits })
    await expect(inline('b.png')).rejects.toThrow(/^spec\.yaml\/one: there is no file b\.png/)
    await expect(inline('.')).rejects.toThrow(/^spec\.yaml\/one: /)
    await expect(inline('a.png', { limitBytes: 2 })).rejects.toThrow(/3 bytes.*at most 2/)
  })
})
