/**
 * Finds a Redis server program, or unpacks one from the distribution's packages without installing anything.
 * Hides package names, private package lists and the search path of the unpacked libraries.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { reasonOf, serviceError } from './service-error.ts'

/** A server program that was seen to run, and the environment that it needs. */
export interface RedisProgram {
  file: string
  env: NodeJS.ProcessEnv
}

const NAMES = ['redis-server', 'valkey-server']
const USUAL_FOLDERS = ['/usr/local/bin', '/usr/bin', '/usr/local/sbin', '/usr/sbin', '/opt/homebrew/bin']
const OLDEST = [6, 2] // BullMQ's recommendation
const APT_TIMEOUT_MS = 120_000
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
  const [, major, minor] = output.match(/ v=(\d+)\.(\d+)/) ?? []
  if (major === undefined) return false
  const [oldestMajor = 0, oldestMinor = 0] = OLDEST
  return Number(major) > oldestMajor || (Number(major) === oldestMajor && Number(minor) >= oldestMinor)
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
  try {
    const release = readFileSync('/etc/os-release', 'utf8')
    const field = (name: string) => release.match(new RegExp(`^${name}="?([\\w.]+)`, 'm'))?.[1] ?? ''
    return `${field('ID')}${field('VERSION_ID')}`
  } catch {
    return 'linux'
  }
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
  let wanted = ['redis-server', 'redis-tools']
  const download = await downloadFirst(wanted, work, packages)
  const asked = new Set<string>()
  const unpacked = new Set<string>()
  for (let round = 0; round < LIBRARY_ROUNDS && wanted.length > 0; round++) {
    wanted.forEach((name) => asked.add(name))
    if (round > 0) await downloadLibraries(download, wanted)
    const depends: string[] = []
    for (const file of readdirSync(packages).filter((name) => name.endsWith('.deb') && !unpacked.has(name))) {
      unpacked.add(file)
      await run('dpkg-deb', ['-x', join(packages, file), root])
      depends.push(...libraryPackages(await run('dpkg-deb', ['-f', join(packages, file), 'Depends'])))
    }
    const program = unpackedProgram(root)
    if (program && isUsable(program)) return
    wanted = [...new Set(depends)].filter((name) => !asked.has(name))
  }
  const program = unpackedProgram(root)
  const missing = program ? spawnSync('ldd', [program.file], { env: program.env, encoding: 'utf8' }).stdout : ''
  throw new Error(missing.match(/^.*not found.*$/m)?.[0].trim() ?? 'the unpacked server does not run')
}

/** Library names of a Depends field. The C library and the loader must be the system's own. */
function libraryPackages(depends: string): string[] {
  return [...depends.matchAll(/(?:^|[,|])\s*(lib[\w.+-]+)/g)]
    .map((match) => match[1] ?? '')
    .filter((name) => !name.startsWith('libc6') && name !== 'libgcc-s1')
}

type Download = (names: string[]) => Promise<string>

/** All in one call; where that fails each alone, since some may be virtual or already part of the system. */
async function downloadLibraries(download: Download, names: string[]): Promise<void> {
  try {
    await download(names)
  } catch {
    for (const name of names) await download([name]).catch(() => {})
  }
}

/** Downloads the packages and returns what downloads more. Slim images have no package lists: then a private copy is fetched. */
async function downloadFirst(names: string[], work: string, packages: string): Promise<Download> {
  const system: Download = (wanted) => run('apt-get', ['-qq', 'download', ...wanted], packages)
  try {
    await system(names)
    return system
  } catch {
    const lists = join(work, 'lists')
    const archives = join(work, 'cache')
    mkdirSync(join(lists, 'partial'), { recursive: true })
    mkdirSync(join(archives, 'archives/partial'), { recursive: true })
    const options = [
      '-qq',
      '-o',
      `Dir::State::lists=${lists}`,
      '-o',
      `Dir::Cache=${archives}`,
      '-o',
      'Debug::NoLocking=1',
    ]
    // Root would fetch as user _apt, who may not come into our folder.
    if (process.getuid?.() === 0) options.push('-o', 'APT::Sandbox::User=root')
    await run('apt-get', [...options, 'update'], packages)
    const own: Download = (wanted) => run('apt-get', [...options, 'download', ...wanted], packages)
    await own(names)
    return own
  }
}

function run(command: string, args: string[], cwd?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' },
      timeout: APT_TIMEOUT_MS,
      ...(cwd ? { cwd } : {}),
    })
    let output = ''
    let complaint = ''
    child.stdout.on('data', (text) => (output += text))
    child.stderr.on('data', (text) => (complaint += text))
    child.once('error', reject)
    child.once('close', (code) =>
      code === 0 ? resolve(output) : reject(new Error(complaint.trim() || `${command} ended with ${code}`)),
    )
  })
}
