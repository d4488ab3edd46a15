/**
 * The way in for every `npm run` command: makes node_modules match the lockfile, then runs the target on the pinned Node.
 * Has no dependency and runs on Node 20; hides pnpm, the pinned Node's place, and how signals reach the target.
 */
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const bin = join(root, 'node_modules/.bin')
const stampFile = join(root, 'node_modules/.fabrique-install.json')
const NODE_MAJOR = 24
const HEARTBEAT_MS = 3_000
const PARENT_CHECK_MS = 500

const TARGETS = {
  setup: undefined,
  demo: 'scripts/demo.ts',
  up: 'scripts/up.ts',
  'admin-key': 'scripts/admin-key.ts',
  test: 'scripts/test.ts',
  bench: 'bench/main.ts',
  soak: 'soak/main.ts',
  mutate: 'scripts/mutate.ts',
  check: ['check:types', 'check:lint', 'check:format', 'check:unused'],
}

try {
  await main(process.argv[2], process.argv.slice(3))
} catch (error) {
  if (!error.isExpected) throw error
  console.error(error.message)
  process.exit(1)
}

async function main(name, args) {
  if (!Object.hasOwn(TARGETS, name ?? '')) {
    throw failure(`Usage: node scripts/launch.mjs <${Object.keys(TARGETS).join('|')}> [arguments]`)
  }
  if (!isInstalled()) await withInstallLock(install)
  const target = TARGETS[name]
  if (target === undefined) return console.log('Ready. Try: npm run demo')
  const env = {
    ...process.env,
    PATH: bin + delimiter + (process.env.PATH ?? ''),
    NODE_COMPILE_CACHE: join(root, '.cache/node-compile'),
    TURBO_TELEMETRY_DISABLED: '1',
    DO_NOT_TRACK: '1',
  }
  if (Array.isArray(target))
    return follow(
      spawn(join(bin, 'turbo'), ['run', '--continue', ...target, ...args], { cwd: root, env, stdio: 'inherit' }),
    )
  // The pinned Node by its path: shells remember where `node` was, so PATH alone is not enough.
  // The channel tells the target when we are killed: it then stops in order instead of living on.
  const child = spawn(runtime(), [join(root, target), ...args], {
    cwd: root,
    env,
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
  })
  follow(child)
}

/** Passes signals on, and ends as the child ends. */
function follow(child) {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  const watch = watchNpm(() => child.kill('SIGTERM'))
  child.once('error', (error) => {
    console.error(
      `${child.spawnfile} cannot be started (${error.message}). Delete node_modules, then run: npm run setup`,
    )
    process.exit(1)
  })
  child.once('exit', (code, signal) => {
    clearInterval(watch)
    if (signal === null) process.exit(code)
    process.exit(128 + constants.signals[signal])
  })
}

/** npm killed by SIGKILL passes nothing on; we notice that we were given to another parent. */
function watchNpm(onGone) {
  if (!process.env.npm_lifecycle_event) return undefined
  const parent = process.ppid
  const grandparent = parentOf(parent) // npm starts a shell, which may or may not replace itself by us
  const isShell = /^\d+ \((ba|da|z|k)?sh\)/.test(statOf(parent))
  const timer = setInterval(() => {
    const isGone = process.ppid !== parent || (isShell && parentOf(parent) !== grandparent)
    if (!isGone) return
    clearInterval(timer)
    onGone()
  }, PARENT_CHECK_MS)
  timer.unref()
  return timer
}

function statOf(pid) {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return ''
  }
}

function parentOf(pid) {
  const stat = statOf(pid)
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]
}

/** The Node that runs everything: the pinned one, or this one where there is no pinned one for the platform. */
function runtime() {
  const pinned = join(bin, 'node')
  if (readStamp()?.runtime === 'pinned') return pinned
  if (Number(process.versions.node.split('.')[0]) >= NODE_MAJOR) return process.execPath
  throw failure(
    `There is no packaged Node for this machine, and this is Node ${process.versions.node}. Install Node ${NODE_MAJOR} or newer.`,
  )
}

/** Every package.json of the workspace, the root's first. */
function manifests() {
  const folders = ['', 'bench', 'templates', 'test']
  for (const group of ['apps', 'packages', 'examples']) {
    if (existsSync(join(root, group))) folders.push(...readdirSync(join(root, group)).map((name) => join(group, name)))
  }
  return folders.filter((folder) => existsSync(join(root, folder, 'package.json'))).map((folder) => join(root, folder))
}

/** Changes whenever an install would have something to do. */
function fingerprint(folders) {
  const hash = createHash('sha256').update(`${process.platform}-${process.arch}`)
  for (const file of ['pnpm-lock.yaml', 'pnpm-workspace.yaml']) hash.update(readFileSync(join(root, file)))
  for (const folder of folders) hash.update(folder).update(readFileSync(join(folder, 'package.json')))
  return hash.digest('hex')
}

function readStamp() {
  try {
    return JSON.parse(readFileSync(stampFile, 'utf8'))
  } catch {
    return undefined
  }
}

/** True when the last install ended well, was for these manifests, and what it made is still there. */
function isInstalled() {
  const folders = manifests()
  return readStamp()?.fingerprint === fingerprint(folders) && isComplete(folders)
}

/** True when every direct dependency and the programs that we start ourselves are in their places. */
function isComplete(folders) {
  const platformNode = join(root, `node_modules/node-${process.platform}-${process.arch}`)
  if (!existsSync(join(bin, 'pnpm')) || (existsSync(platformNode) && !existsSync(join(bin, 'node')))) return false
  return folders.every((folder) => {
    const { dependencies, devDependencies } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    return Object.keys({ ...dependencies, ...devDependencies }).every((name) =>
      existsSync(join(folder, 'node_modules', name, 'package.json')),
    )
  })
}

/** One install at a time, whoever starts it; the others wait and then find it done. */
async function withInstallLock(work) {
  const file = join(root, '.cache/install.lock')
  mkdirSync(dirname(file), { recursive: true })
  let isTold = false
  while (!tryLock(file)) {
    if (!isTold) console.log('Another set-up is running in this checkout: waiting for it …')
    isTold = true
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  try {
    if (!isInstalled()) await work()
  } finally {
    rmSync(file, { force: true })
  }
}

function tryLock(file) {
  try {
    writeFileSync(file, String(process.pid), { flag: 'wx' })
    return true
  } catch (error) {
    if (error.code !== 'EEXIST') throw explain(error.message)
  }
  if (!isAbandoned(file)) return false
  rmSync(file, { force: true })
  return tryLock(file)
}

/** True when the lock's holder was killed. An hour settles the case of a process id that was given away again. */
function isAbandoned(file) {
  try {
    const pid = readFileSync(file, 'utf8')
    if (pid === '') return false // being written
    if (Date.now() - statSync(file).mtimeMs > 3_600_000) return true
    process.kill(Number(pid), 0)
    return /\) Z /.test(statOf(pid)) // a zombie: killed, and nobody has collected it
  } catch (error) {
    return error.code === 'ESRCH'
  }
}

async function install() {
  rmSync(stampFile, { force: true })
  console.log('Installing dependencies (once) …')
  const folders = manifests()
  let { code, output } = await runInstaller()
  if (code !== 0) throw explain(output)
  if (!isComplete(folders)) {
    // pnpm trusts its own notes about an earlier install; what was deleted behind its back it does not put back.
    console.log('Parts of an earlier install are missing: installing afresh …')
    for (const folder of folders) rmSync(join(folder, 'node_modules'), { recursive: true, force: true })
    ;({ code, output } = await runInstaller())
    if (code !== 0 || !isComplete(folders)) throw explain(output)
  }
  const pinned = spawnSync(join(bin, 'node'), ['--version'], { encoding: 'utf8' })
  const runtime = pinned.stdout?.startsWith(`v${NODE_MAJOR}.`) ? 'pinned' : 'current'
  writeFileSync(stampFile, JSON.stringify({ fingerprint: fingerprint(folders), runtime }))
}

/** Runs pnpm, shows how far it is, and keeps what it says for the case that it fails. */
function runInstaller() {
  const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const own = join(bin, 'pnpm')
  const isOwnUsable = existsSync(own) && spawnSync(own, ['--version'], { cwd: root }).status === 0
  const [command, first] = isOwnUsable ? [own, []] : ['npx', ['--yes', packageManager]]
  return new Promise((resolve) => {
    const args = [...first, 'install', '--frozen-lockfile', '--reporter=append-only']
    // Users may have switched install scripts off; PostgreSQL's links and pnpm's own binary need them.
    const env = { ...process.env, npm_config_ignore_scripts: 'false', npm_config_update_notifier: 'false' }
    const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] })
    const started = Date.now()
    let output = ''
    let progress = 'fetching the package manager'
    const report = setInterval(() => {
      console.log(`  ${Math.round((Date.now() - started) / 1_000)} s: ${progress}`)
    }, HEARTBEAT_MS)
    const listen = (text) => {
      output = (output + text).slice(-20_000)
      progress = output.match(/.*Progress: ([^\n]*)/s)?.[1] ?? progress
    }
    child.stdout.setEncoding('utf8').on('data', listen)
    child.stderr.setEncoding('utf8').on('data', listen)
    const end = (code) => {
      clearInterval(report)
      resolve({ code, output })
    }
    child.once('error', (error) => {
      output += error.message
      end(1)
    })
    child.once('close', end)
  })
}

/** One line with what to do, from what the installer said. */
function explain(output) {
  const causes = [
    [/ENOSPC|no space left/i, 'There is no space left on this disk. Make room, then run: npm run setup'],
    [
      /EACCES|EROFS|permission denied/i,
      'The checkout cannot be written. Give yourself write access to it, then run: npm run setup',
    ],
    [
      /OUTDATED_LOCKFILE|FROZEN_LOCKFILE/,
      'pnpm-lock.yaml does not match the manifests. Run: node_modules/.bin/pnpm install',
    ],
    [
      /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|META_FETCH_FAIL|FETCH_5|dns error|error sending request|tcp connect/i,
      'The package registry cannot be reached. Check the network (npm ping) and the registry setting (npm config get registry), then run: npm run setup',
    ],
    [
      /FETCH_404|E404|404 Not Found/,
      'The package registry lacks a package of the lockfile. Check the registry setting: npm config get registry',
    ],
    [/spawn npx ENOENT/, 'There is no npx. Install npm, which brings it, then run: npm run setup'],
  ]
  const remedy = causes.find(([pattern]) => pattern.test(output))?.[1]
  const lines = output.split('\n').filter((line) => line.trim() && !line.startsWith('Progress:'))
  const said = lines.find((line) => /ERR_|ERR!|error/i.test(line)) ?? lines.at(-1) ?? ''
  return failure(
    `${remedy ?? 'Installing failed. Delete node_modules, then run: npm run setup'} (${said.trim().slice(0, 200)})`,
  )
}

function failure(message) {
  return Object.assign(new Error(message), { isExpected: true })
}
