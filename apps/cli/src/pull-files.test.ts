import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { pullFiles } from './pull-files.ts'

function setup() {
  const folder = mkdtempSync(join(tmpdir(), 'fabrique-pull-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return { folder: join(folder, 'out'), force: false, order: [{ index: 0, run_id: 'r0' }] }
}

function artifact(id: string, role: string, runId = 'r0', mimeType = 'image/webp') {
  const sha256 = createHash('sha256').update(`bytes of ${id}`).digest('hex')
  return { id, run_id: runId, role, mime_type: mimeType, sha256 }
}

const store = { read: async (id: string) => Buffer.from(`bytes of ${id}`) }

describe('pulled files', () => {
  it('are named by role and type; those with the same name are counted', async () => {
    const options = setup()
    const artifacts = [artifact('a', 'raw'), artifact('b', 'raw'), artifact('c', '../x y', 'r0', 'text/html')]
    const files = await pullFiles(store, artifacts, options)
    expect(files.map(({ path }) => path)).toEqual(
      ['raw.webp', 'raw-2.webp', '-x-y.html'].map((name) => join(options.folder, name)),
    )
    expect(readFileSync(join(options.folder, 'raw-2.webp'), 'utf8')).toBe('bytes of b')
  })

  it('of several slots say which slot they are of', async () => {
    const order = [
      { index: 0, run_id: 'r0' },
      { index: 1, run_id: 'r1' },
    ]
    const options = { ...setup(), order }
    await pullFiles(store, [artifact('a', 'raw'), artifact('b', 'raw', 'r1')], options)
    expect(readdirSync(options.folder).sort()).toEqual(['0-raw.webp', '1-raw.webp'])
  })

  it('replace nothing that differs, and then none is written, unless it is forced', async () => {
    const options = setup()
    await pullFiles(store, [artifact('a', 'raw')], options)
    writeFileSync(join(options.folder, 'raw.webp'), 'mine')
    const both = [artifact('b', 'other'), artifact('a', 'raw')]
    await expect(pullFiles(store, both, options)).rejects.toThrow('raw.webp: a different file is there')
    expect(readdirSync(options.folder)).toEqual(['raw.webp'])
    await pullFiles(store, both, { ...options, force: true })
    expect(readFileSync(join(options.folder, 'raw.webp'), 'utf8')).toBe('bytes of a')
  })

  it('that are not what their hash says are not kept', async () => {
    const options = setup()
    const broken = { read: async () => Buffer.from('something else') }
    await expect(pullFiles(broken, [artifact('a', 'raw')], options)).rejects.toThrow('SHA-256')
    expect(readdirSync(options.folder)).toEqual([])
  })
})
