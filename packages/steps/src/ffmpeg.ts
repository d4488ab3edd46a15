// Finds and runs ffmpeg, in a private folder that is always removed.
// It may be an old build: give it only files that we made ourselves, never a provider's or a stranger's container.
import { spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { delimiter, isAbsolute, join } from 'node:path'
import { finished } from 'node:stream/promises'
import { Readable } from 'node:stream'
import { StepFailure } from '@fabrique/engine'

const PACKAGE = '@ffmpeg-installer/ffmpeg'
const REMEDY = `ffmpeg is not here. Install it so that it is on the PATH, or the optional package ${PACKAGE}.`

/** All the work in one folder must be over by then: ten minutes of film take about three on two cores. */
const WORK_MS_MAX = 15 * 60_000
const OUTPUT_BYTES_MAX = 256 * 1024 * 1024
const COMPLAINT_CHARACTERS_MAX = 4_096

/** ffmpeg at work in a folder of its own; files are named plainly, without a path. */
export interface Ffmpeg {
  write(name: string, bytes: Uint8Array | string): Promise<void>
  /** Runs it once in the folder; `input` is what it reads from standard input. */
  run(args: readonly string[], input?: Iterable<Uint8Array>): Promise<void>
  /** A file that it made; rejects with `bad_output` beyond 256 MiB. */
  read(name: string): Promise<Buffer>
}

/** Why ffmpeg cannot be run on this machine, with the remedy; null when it can. */
export function ffmpegMissing(searchPath: string = process.env.PATH ?? '', packaged = PACKAGE): string | null {
  return findFfmpeg(searchPath, packaged) === null ? REMEDY : null
}

/** The program: the PATH's before the optional package's, which is of 2018. */
function findFfmpeg(searchPath: string, packaged: string): string | null {
  for (const folder of searchPath.split(delimiter)) {
    const program = join(folder, 'ffmpeg')
    if (isAbsolute(folder) && isExecutable(program)) return program
  }
  try {
    const { path } = createRequire(import.meta.url)(packaged) as { path: string }
    return isExecutable(path) ? path : null
  } catch {
    return null
  }
}

function isExecutable(program: string): boolean {
  try {
    accessSync(program, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/**
 * Does work with ffmpeg and removes every file of it, however the work ends. An abort kills the program and rejects
 * with the signal's reason; absence is `tool-unavailable`, more than 15 minutes a `timeout`.
 */
export async function withFfmpeg<T>(signal: AbortSignal, work: (ffmpeg: Ffmpeg) => Promise<T>): Promise<T> {
  const program = findFfmpeg(process.env.PATH ?? '', PACKAGE)
  if (program === null) throw new StepFailure('invalid', REMEDY, { code: 'tool-unavailable' })
  const deadline = AbortSignal.timeout(WORK_MS_MAX)
  const stop = AbortSignal.any([signal, deadline])
  const folder = await mkdtemp(join(tmpdir(), 'fabrique-film-'))
  try {
    return await work({
      write: async (name, bytes) => await writeFile(join(folder, name), bytes, { signal: stop }),
      async run(args, input) {
        stop.throwIfAborted()
        await execute(program, folder, args, input, stop)
      },
      async read(name) {
        const file = join(folder, name)
        if ((await stat(file)).size > OUTPUT_BYTES_MAX) {
          throw new StepFailure('bad_output', 'The film is larger than 256 MiB.')
        }
        return await readFile(file, { signal: stop })
      },
    })
  } catch (error) {
    if (signal.aborted) throw signal.reason instanceof Error ? signal.reason : new Error('stopped', { cause: error })
    if (deadline.aborted) {
      throw new StepFailure('timeout', 'The film was not ready after 15 minutes: make it shorter or smaller.')
    }
    throw error
  } finally {
    // A program that was just killed may still be closing its files.
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

async function execute(
  program: string,
  folder: string,
  args: readonly string[],
  input: Iterable<Uint8Array> | undefined,
  signal: AbortSignal,
): Promise<void> {
  const child = spawn(program, ['-hide_banner', '-loglevel', 'error', '-y', ...args], {
    cwd: folder,
    // Nothing of our environment: keys live there.
    env: { PATH: process.env.PATH },
    stdio: ['pipe', 'ignore', 'pipe'],
    killSignal: 'SIGKILL',
    signal,
  })
  let complaint = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-COMPLAINT_CHARACTERS_MAX)
  })
  const over = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  // A program that gave up closes its input; its exit code tells more than the broken pipe does.
  const fed = finished(Readable.from(input ?? []).pipe(child.stdin)).catch(() => {})
  const code = await over
  await fed
  if (code === 0) return
  const cause = new Error(complaint)
  if (/Unknown encoder|No such filter/.test(complaint)) {
    throw new StepFailure('invalid', 'The ffmpeg on the PATH lacks H.264, AAC or a filter: install a full build.', {
      code: 'tool-unavailable',
      cause,
    })
  }
  throw new StepFailure('bad_output', 'ffmpeg could not make the film of these parts.', { cause })
}
