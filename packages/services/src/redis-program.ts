/**
 * Finds a Redis server program, or unpacks one from the distribution's packages without installing anything.
 * Hides package names, private package lists and the search path of the unpacked libraries.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { textIn } from './home-file.ts'
import { run } from './program.ts'
import { reasonOf, serviceError } from './service-error.ts'

/** A server program that was seen to run, and the environment that it needs. */
export interface RedisProgram {
  file: string
  env: NodeJS.ProcessEnv
}

const NAMES = ['redis-server', 'valkey-server']
const USUAL_FOLDERS = ['/usr/local/bin', '/usr/bin', '/usr/local/sbin', '/usr/sbin', '/opt/homebrew/bin']
const OLDEST = 602 // 6.2 is BullMQ's recommendation
const TOOL_TIMEOUT_MS = 120_000
const LIBRARY_ROUNDS = 3

const REMEDY =
  process.platform === 'darwin'
    ? 'Install it with: brew install redis (or set REDIS_URL)'
    : 'Install it with: apt-get install redis-server (or your system’s package), or set REDIS_URL'

/**
 * A program on the search path, else one unpacked earlier, else one unpacked now.
 * What is unpacked is kept per user, so that a second checkout downloads nothing; `home` is the place when that fails.
 */
export async function findRedisProgram(home: string, onProgress: (line: string) => void): Promise<RedisProgram> {
  for (const folder of new Set([...(process.env.PATH ?? '').split(delimiter), ...USUAL_FOLDERS])) {
    for (const name of NAMES) {
      const program = { file: join(folder, name), env: bareEnv() }
      if (folder && existsSync(program.file) && isUsable(program)) return program
    }
  }
  if (process.platform !== 'linux' || !isOnPath('apt-get') || !isOnPath('dpkg-deb')) {
    throw serviceError(`There is no redis-server on this machine. ${REMEDY}`)
  }
  const cache = packageCache(home)
  const unpacked = join(cache, `redis-${distribution()}-${process.arch}`)
  const kept = unpackedProgram(unpacked)
  if (kept && isUsable(kept)) return kept

  onProgress(
    'There is no redis-server on this machine: unpacking one from the system’s packages (once, nothing is installed) …',
  )
  removeAbandoned(cache)
  const work = mkdtempSync(join(cache, 'unpack-'))
  try {
    await unpack(work)
    rmSync(unpacked, { recursive: true, force: true })
    renameSync(join(work, 'root'), unpacked)
  } catch (error) {
    // Another checkout may have put its copy there in the meantime; otherwise the reason stands.
    if (!existsSync(unpacked))
      throw serviceError(`There is no redis-server, and unpacking one failed. ${REMEDY}`, reasonOf(error))
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
  const program = unpackedProgram(unpacked)
  if (program && isUsable(program)) return program
  throw serviceError(`The redis-server unpacked to ${unpacked} does not run here. ${REMEDY}`)
}

function bareEnv(): NodeJS.ProcessEnv {
  return { PATH: process.env.PATH, LC_ALL: 'C' }
}

function isOnPath(name: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => folder && existsSync(join(folder, name)))
}

function isUsable({ file, env }: RedisProgram): boolean {
  const output = spawnSync(file, ['--version'], { env, encoding: 'utf8', timeout: 10_000 }).stdout ?? ''
  const [, major, minor] = / v=(\d+)\.(\d+)/.exec(output) ?? []
  return Number(major) * 100 + Number(minor) >= OLDEST
}

function packageCache(home: string): string {
  const perUser = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'fabrique')
  try {
    mkdirSync(perUser, { recursive: true })
    rmSync(mkdtempSync(join(perUser, 'probe-')), { recursive: true })
    return perUser
  } catch {
    const ours = join(home, 'packages')
    mkdirSync(ours, { recursive: true })
    return ours
  }
}

function distribution(): string {
  const release = textIn('/etc/os-release')
  const field = (name: string) => new RegExp(`^${name}="?([\\w.]+)`, 'm').exec(release)?.[1] ?? ''
  return `${field('ID')}${field('VERSION_ID')}` || 'linux'
}

/** What a killed unpacking left behind; an hour is far beyond any that still runs. */
function removeAbandoned(cache: string): void {
  for (const name of readdirSync(cache).filter((entry) => entry.startsWith('unpack-'))) {
    const folder = join(cache, name)
    if (Date.now() - statSync(folder).mtimeMs > 3_600_000) rmSync(folder, { recursive: true, force: true })
  }
}

function unpackedProgram(root: string): RedisProgram | undefined {
  const file = NAMES.map((name) => join(root, 'usr/bin', name)).find((path) => existsSync(path))
  return file ? { file, env: { ...bareEnv(), LD_LIBRARY_PATH: libraryFolders(root).join(delimiter) } } : undefined
}

function libraryFolders(root: string): string[] {
  return [join(root, 'usr/lib'), join(root, 'lib')]
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
    .filter((folder) => /-linux-gnu\w*$/.test(folder))
}

/** Downloads the packages into `work` and unpacks them to `work/root`, with the libraries that are missing here. */
async function unpack(work: string): Promise<void> {
  const root = join(work, 'root')
  const packages = join(work, 'packages')
  mkdirSync(root)
  mkdirSync(packages)
  const env = { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' }
  const tool = (name: string, ...args: string[]) => run(name, args, { cwd: packages, env, timeout: TOOL_TIMEOUT_MS })
  const options = ['-qq']
  const download = (names: string[]) => tool('apt-get', ...options, 'download', ...names)

  let wanted = ['redis-server', 'redis-tools']
  await download(wanted).catch(async () => {
    // Slim images have no package lists: then a private copy is fetched.
    options.push(...privateLists(work))
    await tool('apt-get', ...options, 'update')
    await download(wanted)
  })
  const asked = new Set<string>()
  const unpacked = new Set<string>()
  for (let round = 0; round < LIBRARY_ROUNDS && wanted.length > 0; round++) {
    wanted.forEach((name) => asked.add(name))
    if (round > 0) {
      // All in one call; where that fails each alone, since some may be virtual or already part of the system.
      await download(wanted).catch(async () => {
        for (const name of wanted) await download([name]).catch(() => {})
      })
    }
    const depends: string[] = []
    for (const file of readdirSync(packages).filter((name) => name.endsWith('.deb') && !unpacked.has(name))) {
      unpacked.add(file)
      await tool('dpkg-deb', '-x', file, root)
      depends.push(...libraryPackages(await tool('dpkg-deb', '-f', file, 'Depends')))
    }
    const program = unpackedProgram(root)
    if (program && isUsable(program)) return
    wanted = [...new Set(depends)].filter((name) => !asked.has(name))
  }
  const program = unpackedProgram(root)
  const missing = program ? spawnSync('ldd', [program.file], { env: program.env, encoding: 'utf8' }).stdout : ''
  throw new Error(missing.match(/^.*not found.*$/m)?.[0].trim() ?? 'the unpacked server does not run')
}

/** Options for a private copy of the package lists. */
function privateLists(work: string): string[] {
  const lists = join(work, 'lists')
  const archives = join(work, 'cache')
  mkdirSync(join(lists, 'partial'), { recursive: true })
  mkdirSync(join(archives, 'archives/partial'), { recursive: true })
  const options = [`-oDir::State::lists=${lists}`, `-oDir::Cache=${archives}`, '-oDebug::NoLocking=1']
  // Root would fetch as user _apt, who may not come into our folder.
  return process.getuid?.() === 0 ? [...options, '-oAPT::Sandbox::User=root'] : options
}

/** Library names of a Depends field. The C library and the loader must be the system's own. */
function libraryPackages(depends: string): string[] {
  return [...depends.matchAll(/(?:^|[,|])\s*(lib[\w.+-]+)/g)]
    .map((match) => match[1] ?? '')
    .filter((name) => !name.startsWith('libc6') && name !== 'libgcc-s1')
}
