import { mkdir, mkdtemp, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { artifactStoreContract } from '@fabrique/engine/testing'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createFileArtifactStore } from './file-store.ts'
import { createArtifactStore } from './index.ts'

async function open() {
  const root = await mkdtemp(join(tmpdir(), 'fabrique-artifacts-'))
  return { root, store: createFileArtifactStore(root), dispose: () => rm(root, { recursive: true }) }
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

  it('writes a file again that an interrupted write or a full disk left short', async () => {
    const { store, root } = await setup()
    const { storageKey } = await store.put('org_1', bytes, 'text/plain')
    await truncate(join(root, storageKey), 3)
    expect(await store.put('org_1', bytes, 'text/plain')).toMatchObject({ storageKey })
    expect(Uint8Array.from(await store.get(storageKey))).toEqual(bytes)
    expect((await stat(join(root, storageKey))).size).toBe(bytes.byteLength)
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
