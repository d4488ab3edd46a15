import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ffmpegMissing, withFfmpeg } from './ffmpeg.ts'

const NEVER = new AbortController().signal
const RAW = ['-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', '64x64', '-r', '25', '-i', 'pipe:0']

/** Frames without end, with a word to say at the third. */
function* frames(atThird: () => void): Generator<Uint8Array> {
  for (let i = 0; ; i += 1) {
    if (i === 3) atThird()
    yield Buffer.alloc(64 * 64 * 3, i % 256)
  }
}

describe('ffmpeg', () => {
  let home: string
  let before: string | undefined
  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'fabrique-test-'))
    before = process.env.TMPDIR
    process.env.TMPDIR = home
  })
  afterEach(async () => {
    if (before === undefined) delete process.env.TMPDIR
    else process.env.TMPDIR = before
    await rm(home, { recursive: true, force: true })
  })

  it('is found here, so that what follows means something', () => {
    expect(ffmpegMissing()).toBeNull()
  })

  it('that is nowhere is missing, with the remedy', () => {
    expect(ffmpegMissing(home, '@fabrique/no-such-package')).toMatch(/PATH.*@ffmpeg-installer/)
  })

  it('of the PATH goes before the package, and one without H.264 is told apart from parts that are bad', async () => {
    const bin = await mkdtemp(join(home, 'bin-'))
    await writeFile(join(bin, 'ffmpeg'), '#!/bin/sh\necho "Unknown encoder \'libx264\'" >&2\nexit 1\n', { mode: 0o755 })
    const path = process.env.PATH
    process.env.PATH = `${bin}:${path}`
    try {
      const failed = withFfmpeg(NEVER, async (ffmpeg) => await ffmpeg.run(['-version']))
      await expect(failed).rejects.toMatchObject({ code: 'tool-unavailable', failureClass: 'invalid' })
    } finally {
      process.env.PATH = path
    }
  })

  it('leaves no file behind, whether the work succeeds or fails', async () => {
    const found = await withFfmpeg(NEVER, async (ffmpeg) => {
      await ffmpeg.write('a.txt', 'hello')
      return (await ffmpeg.read('a.txt')).toString()
    })
    expect(found).toBe('hello')
    await expect(withFfmpeg(NEVER, () => Promise.reject(new Error('mine')))).rejects.toThrow('mine')
    expect(await readdir(home)).toEqual([])
  })

  it('that complains is a failure that shows neither its words nor a path', async () => {
    const failed = withFfmpeg(NEVER, async (ffmpeg) => await ffmpeg.run(['-i', 'nowhere.png', 'out.mp4']))
    await expect(failed).rejects.toMatchObject({
      failureClass: 'bad_output',
      message: expect.not.stringMatching(/nowhere|\//),
    })
  })

  it('is killed when the step is stopped in the middle, and its folder is gone', async () => {
    const stop = new AbortController()
    const reason = new Error('stopped by a test')
    const endless = withFfmpeg(
      stop.signal,
      async (ffmpeg) =>
        await ffmpeg.run(
          [...RAW, '-f', 'null', '-'],
          frames(() => stop.abort(reason)),
        ),
    )
    await expect(endless).rejects.toBe(reason)
    expect(await readdir(home)).toEqual([])
  })

  it('that closes its input early is judged by how it ends', async () => {
    await withFfmpeg(
      NEVER,
      async (ffmpeg) =>
        await ffmpeg.run(
          [...RAW, '-frames:v', '5', '-f', 'null', '-'],
          frames(() => {}),
        ),
    )
  })

  it('does not run at all for a step that is stopped already', async () => {
    await expect(
      withFfmpeg(AbortSignal.abort('cancel'), async (ffmpeg) => await ffmpeg.run(['-version'])),
    ).rejects.toThrow('stopped')
  })
})
