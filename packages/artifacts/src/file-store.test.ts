import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { artifactStoreContract } from '@fabrique/engine/testing'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createFileArtifactStore } from './file-store.ts'
import { createArtifactStore } from './index.ts'

async function open() {
  const folder = await mkdtemp(join(tmpdir(), 'fabrique-artifacts-'))
  const root = join(folder, 'artifacts')
  return {
    root,
    store: createFileArtifactStore(root),
    dispose: () => rm(folder, { recursive: true }),
    goAway: () => rename(root, `${root}-unmounted`),
    comeBack: () => rename(`${root}-unmounted`, root),
  }
}

artifactStoreContract('the artifact store on disk', open)

describe('the artifact store on disk', () => {
  async function setup() {
    const opened = await open()
    onTestFinished(() => opened.dispose())
    return opened
  }
  const bytes = new TextEncoder().encode('some bytes')

  it('keeps each content once, complete under its final name, with no partial file left', async () => {
    const { store, root } = await setup()
    await Promise.all(Array.from({ length: 20 }, () => store.put('org_1', bytes, 'text/plain')))
    const files = (await readdir(root, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile())
    expect(files.map(({ name }) => name)).toEqual([expect.stringMatching(/^[0-9a-f]{64}\.txt$/)])
  })

  it('leaves nothing of a file that it could not finish', async () => {
    const { store, root } = await setup()
    const { storageKey } = await store.put('org_1', bytes, 'text/plain')
    await rm(join(root, storageKey))
    // A folder in its place: the bytes can be written, but not under their name.
    await mkdir(join(root, storageKey, 'in the way'), { recursive: true })
    await expect(store.put('org_1', bytes, 'text/plain')).rejects.toThrow()
    const left = await readdir(root, { recursive: true, withFileTypes: true })
    expect(left.filter((entry) => entry.isFile())).toEqual([])
  })

  it.each<[string, (path: string) => Promise<void>]>([
    ['left short', (path) => truncate(path, 3)],
    ['altered', (path) => writeFile(path, 'other text')],
  ])('never gives out a file that was %s, and writes it again with the next run that makes it', async (_, damage) => {
    const { store, root } = await setup()
    const { storageKey } = await store.put('org_1', bytes, 'text/plain')
    expect((await store.open(storageKey)).size).toBe(bytes.byteLength)
    await damage(join(root, storageKey))
    await expect(store.get(storageKey)).rejects.toMatchObject({ code: 'artifact-damaged' })
    await expect(store.open(storageKey)).rejects.toMatchObject({ code: 'artifact-damaged' })
    expect(await store.put('org_1', bytes, 'text/plain')).toMatchObject({ storageKey })
    expect(Uint8Array.from(await store.get(storageKey))).toEqual(bytes)
    expect((await stat(join(root, storageKey))).size).toBe(bytes.byteLength)
  })

  it('is away, and not empty, while its folder is gone: it makes no other in its place', async () => {
    const { store, root, goAway, comeBack } = await setup()
    const { storageKey } = await store.put('org_1', bytes, 'text/plain')
    await goAway()
    const isAway = { code: 'unavailable' }
    await expect(store.get(storageKey)).rejects.toMatchObject(isAway)
    await expect(store.staged('call')).rejects.toMatchObject(isAway)
    await expect(store.put('org_1', bytes, 'text/plain')).rejects.toMatchObject(isAway)
    await expect(store.ready()).rejects.toMatchObject(isAway)
    // Something else in its place is no store either.
    await writeFile(root, '')
    await expect(store.get(storageKey)).rejects.toMatchObject(isAway)
    await expect(store.put('org_1', bytes, 'text/plain')).rejects.toMatchObject(isAway)
    await rm(root)
    await comeBack()
    expect(Uint8Array.from(await store.get(storageKey))).toEqual(bytes)
  })

  it('is not ready for another call where less room is left than its reserve', async () => {
    const { root } = await setup()
    const store = createFileArtifactStore(root, { reserveBytes: Number.MAX_SAFE_INTEGER })
    await expect(store.ready()).rejects.toMatchObject({ code: 'unavailable', message: expect.stringContaining('room') })
  })

  it('adopts no staged answer that was cut or altered', async () => {
    const { store, root } = await setup()
    await store.stage('call', { output: { text: 'whole' }, files: [], usage: [] })
    const [name = ''] = await readdir(join(root, 'staging'))
    const path = join(root, 'staging', name)
    const whole = await readFile(path)
    for (const damaged of [
      whole.subarray(0, -1),
      whole.subarray(0, 3),
      Buffer.from(whole).fill('x', whole.length - 3),
    ]) {
      await writeFile(path, damaged)
      expect(await store.staged('call')).toBeNull()
    }
  })

  it('keeps what is staged or unfinished for so long and no longer', async () => {
    const { store, root } = await setup()
    for (const id of ['old', 'new']) await store.stage(id, { output: { id }, files: [], usage: [] })
    const folder = join(root, 'staging')
    const [old = ''] = (await readdir(folder)).filter(
      (name) => name === createHash('sha256').update('old').digest('hex'),
    )
    await writeFile(join(folder, 'unfinished.partial'), 'some')
    const before = new Date(Date.now() - 60_000)
    for (const name of [old, 'unfinished.partial']) await utimes(join(folder, name), before, before)
    await store.sweep(30_000)
    expect(await readdir(folder)).toHaveLength(1)
    expect((await store.staged('new'))?.output).toEqual({ id: 'new' })
  })

  it('never reads outside its folder, whatever the key', async () => {
    const { store, root } = await setup()
    const { storageKey } = await store.put('org_1', bytes, 'text/plain')
    await writeFile(join(root, 'secret.txt'), 'secret')
    const keys = [
      'secret.txt',
      '../secret.txt',
      `../${storageKey}`,
      `${storageKey}/../../../secret.txt`,
      `org_1/../${storageKey}`,
      `/${storageKey}`,
      `./${storageKey}`,
      `${storageKey}\u0000`,
      `${storageKey}\n`,
      storageKey.replace('/', '\\'),
      encodeURIComponent(storageKey),
      'staging/../secret.txt',
      '',
    ]
    for (const key of keys) await expect(store.get(key), JSON.stringify(key)).rejects.toThrow('not a storage key')
  })

  it('keeps staged answers out of reach of storage keys', async () => {
    const { store, root } = await setup()
    await store.stage('call', { output: {}, files: [], usage: [] })
    const [name] = await readdir(join(root, 'staging'))
    await expect(store.get(`staging/${name}`)).rejects.toThrow('not a storage key')
  })
})

describe('the setting of the artifact store', () => {
  const log = { debug() {}, info() {}, warn() {}, error() {} }

  it('names a folder, as a path or as an address', async () => {
    const { root, dispose } = await open()
    onTestFinished(dispose)
    for (const address of [root, `file://${root}`]) {
      const { storageKey } = await createArtifactStore({ address }, log).put('org_1', Uint8Array.of(1), 'image/png')
      expect((await stat(join(root, storageKey))).size).toBe(1)
    }
  })

  it('is refused when there is no store for its scheme', () => {
    expect(() => createArtifactStore({ address: 'ftp://host/folder' }, log)).toThrow('no store for ftp')
  })
})
