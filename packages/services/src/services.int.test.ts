/**
 * What openServices promises, with real servers: every test has its own home and its own processes.
 * Owners that get killed are child processes, so that the kill is a real one.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type Server } from 'node:net'
import { dirname, join } from 'node:path'
import { Redis } from 'ioredis'
import pg from 'pg'
import { afterEach, describe, expect, it, onTestFinished } from 'vitest'
import { discardHome, openServices, type Services, type ServicesOptions } from './index.ts'
import { choosePostgresSeat } from './postgres-seat.ts'
import { findProcesses, startTokenOf, until } from './process-table.ts'
import { freePort } from './program.ts'

const isRoot = process.getuid?.() === 0
const opened: Services[] = []

afterEach(async () => {
  for (const services of opened.splice(0)) await services.release()
})

/** A home of its own below /tmp, gone after the test. `parentMode` is that of the folder around it. */
function newHome(parentMode = 0o755): string {
  const parent = mkdtempSync('/tmp/fabrique-services-')
  chmodSync(parent, parentMode)
  const home = join(parent, 'home')
  // `npm test` discards what is noted here, should this process be killed before it can.
  if (process.env.TEST_HOMES_FILE) appendFileSync(process.env.TEST_HOMES_FILE, `${home}\n`)
  onTestFinished(async () => {
    await discardHome(home)
    rmSync(parent, { recursive: true, force: true })
  })
  return home
}

async function open(options: ServicesOptions): Promise<Services> {
  const services = await openServices(options)
  opened.push(services)
  return services
}

async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(sql)).rows
  } finally {
    await client.end()
  }
}

async function withRedis<T>(url: string | undefined, work: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url ?? '', {
    lazyConnect: true,
    enableReadyCheck: false,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
  })
  redis.on('error', () => {}) // the failing call reports it
  try {
    await redis.connect()
    return await work(redis)
  } finally {
    redis.disconnect()
  }
}

/** A process that opens the services of a home, says so, and then only lives. */
async function ownerProcess(home: string): Promise<{ child: ChildProcess; databaseUrl: string; redisUrl: string }> {
  const code = `
    const { openServices } = await import(${JSON.stringify(new URL('index.ts', import.meta.url).href)})
    const services = await openServices({ home: ${JSON.stringify(home)} })
    console.log(JSON.stringify(services))
    process.on('SIGTERM', () => services.release().then(() => process.exit(0)))
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  const line = await new Promise<string>((resolve, reject) => {
    child.stdout?.once('data', (text) => resolve(String(text)))
    child.once('exit', (code) => reject(new Error(`the owner ended with ${code}`)))
  })
  return { child, ...JSON.parse(line) }
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => void child.once('exit', () => resolve()))
}

function postmasterOf(home: string): number {
  return Number(readFileSync(join(home, 'postgres/data/postmaster.pid'), 'utf8').split('\n')[0])
}

function redisOf(home: string): number {
  return Number(readFileSync(join(home, 'redis/redis.pid'), 'utf8'))
}

describe('embedded services', () => {
  it('keep their data over a restart, and nothing runs in between', async () => {
    const home = newHome()
    const first = await open({ home })
    await query(first.databaseUrl, 'create table t as select 7 as n')
    await withRedis(first.redisUrl, (redis) => redis.set('k', 'v'))
    const pids = [postmasterOf(home), redisOf(home)]
    await first.release()
    expect(pids.map(startTokenOf)).toEqual([undefined, undefined])

    const second = await open({ home })
    expect(await query(second.databaseUrl, 'select n from t')).toEqual([{ n: 7 }])
    expect(await withRedis(second.redisUrl, (redis) => redis.get('k'))).toBe('v')
  })

  it('are set up for durable work, in UTF-8, and reachable on loopback with a password only', async () => {
    const home = newHome()
    const { adminDatabaseUrl, databaseUrl, redisUrl } = await open({ home })
    const settings = await query(
      adminDatabaseUrl,
      `select name, setting from pg_settings where name in
        ('fsync', 'synchronous_commit', 'listen_addresses', 'unix_socket_directories', 'server_encoding') order by name`,
    )
    expect(settings.map((row) => row.setting)).toEqual(['on', '127.0.0.1', 'UTF8', 'on', ''])
    const config = (name: string) => withRedis(redisUrl, async (redis) => (await redis.config('GET', name)) as string[])
    expect((await config('maxmemory-policy'))[1]).toBe('noeviction')
    expect((await config('appendonly'))[1]).toBe('yes')
    expect((await config('hash-max-listpack-value'))[1]).toBe('512')
    expect((await config('save'))[1]).toBe('')

    const stranger = databaseUrl.replace(/:[^:@]+@/, ':wrong@')
    await expect(query(stranger, 'select 1')).rejects.toThrow('password authentication failed')
    await expect(withRedis(redisUrl?.replace(/:[^:@/]+@/, ''), (redis) => redis.get('k'))).rejects.toThrow('NOAUTH')
    const secrets = ['postgres/password', 'redis/password', 'redis/redis.conf'].map((name) => join(home, name))
    expect(secrets.map((file) => statSync(file).mode & 0o777)).toEqual([0o600, 0o600, 0o600])
    const password = readFileSync(join(home, 'redis/password'), 'utf8').trim()
    expect(findProcesses(new RegExp(password))).toEqual([])
  })

  it('left running by a killed owner are found, used, and stopped by the next user', async () => {
    const home = newHome()
    const owner = await ownerProcess(home)
    const pids = [postmasterOf(home), redisOf(home)]
    owner.child.kill('SIGKILL')
    await ended(owner.child)

    const next = await open({ home })
    expect(next).toMatchObject({ databaseUrl: owner.databaseUrl, redisUrl: owner.redisUrl })
    expect([postmasterOf(home), redisOf(home)]).toEqual(pids)
    await next.release()
    expect(pids.map(startTokenOf)).toEqual([undefined, undefined])
  })

  it('killed themselves start again with their data, past pid files that name another process', async () => {
    const home = newHome()
    const first = await open({ home })
    await query(first.databaseUrl, 'create table t as select 7 as n')
    const pids = [postmasterOf(home), redisOf(home)]
    for (const pid of pids) process.kill(pid, 'SIGKILL')
    expect(await until(() => pids.every((pid) => startTokenOf(pid) === undefined), 5_000)).toBe(true)
    // The system has given both ids to someone else in the meantime: to us.
    const pidFile = join(home, 'postgres/data/postmaster.pid')
    writeFileSync(pidFile, readFileSync(pidFile, 'utf8').replace(/^\d+/, String(process.pid)))
    writeFileSync(join(home, 'redis/redis.pid'), String(process.pid))

    const second = await open({ home })
    expect(await query(second.databaseUrl, 'select n from t')).toEqual([{ n: 7 }])
    expect(await withRedis(second.redisUrl, (redis) => redis.ping())).toBe('PONG')
  })

  it('of two users stop with the last one', async () => {
    const home = newHome()
    const [owner, second] = await Promise.all([ownerProcess(home), open({ home })])
    expect(owner.databaseUrl).toBe(second.databaseUrl)
    owner.child.kill('SIGTERM')
    await ended(owner.child)
    expect(await query(second.databaseUrl, 'select 1 as n')).toEqual([{ n: 1 }])
    expect(await withRedis(second.redisUrl, (redis) => redis.ping())).toBe('PONG')

    const pids = [postmasterOf(home), redisOf(home)]
    await second.release()
    expect(pids.map(startTokenOf)).toEqual([undefined, undefined])
    expect(readdirSync(join(home, 'users'))).toEqual([])
  })

  it('are kept alive while in use, at the same address, when asked to', async () => {
    const home = newHome()
    const { databaseUrl, redisUrl } = await open({ home, keepAlive: true })
    const pids = [postmasterOf(home), redisOf(home)]
    for (const pid of pids) process.kill(pid, 'SIGKILL')
    const isBack = () =>
      Promise.all([query(databaseUrl, 'select 1'), withRedis(redisUrl, (redis) => redis.ping())]).then(
        () => true,
        () => false,
      )
    expect(await until(isBack, 20_000)).toBe(true)
    expect([postmasterOf(home), redisOf(home)]).not.toEqual(pids)
  })

  it('give a role that owns its database, and has no right beyond it', async () => {
    const { databaseUrl } = await open({ home: newHome(), need: ['postgres'] })
    expect(
      await query(
        databaseUrl,
        `select rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls as more from pg_roles
         where rolname = current_user`,
      ),
    ).toEqual([{ more: false }])
    for (const statement of ["copy (select 1) to program 'true'", "select pg_read_file('/etc/passwd')"])
      await expect(query(databaseUrl, statement)).rejects.toThrow('permission denied')
  })

  it('hand a database over to that role which an earlier version made as the superuser', async () => {
    const home = newHome()
    const first = await open({ home, need: ['postgres'] })
    const { username } = new URL(first.adminDatabaseUrl)
    await query(
      first.adminDatabaseUrl,
      `alter database fabrique owner to ${username};
       create type colour as enum ('red'); create sequence loose;
       create table old (id int generated always as identity, n serial, c colour default 'red');
       create function two() returns int language sql as 'select 2';
       create view seen as select c from old`,
    )
    await first.release()
    const { databaseUrl } = await open({ home, need: ['postgres'] })
    await query(databaseUrl, 'insert into old default values')
    expect(await query(databaseUrl, 'select * from old, seen, two()')).toHaveLength(1)
    await query(
      databaseUrl,
      `alter table old add more int; drop view seen; drop function two; drop sequence loose;
      alter type colour add value 'blue'; create table fresh as select 1`,
    )
  })

  it('leave nothing in their home that another user can read', async () => {
    const home = newHome()
    mkdirSync(home, { mode: 0o755 })
    await open({ home })
    const listed = readdirSync(home, { recursive: true, encoding: 'utf8' }).map((name) => join(home, name))
    const readable = [home, ...listed].filter((path) => (statSync(path).mode & 0o077 & ~passage(path)) !== 0)
    expect(readable.filter((path) => !isBehindClosedFolder(path, home))).toEqual([])
  })

  it('of two homes run side by side and do not see each other', async () => {
    const [one, two] = await Promise.all([open({ home: newHome() }), open({ home: newHome() })])
    await Promise.all([
      query(one.databaseUrl, 'create table t as select 1 as n'),
      query(two.databaseUrl, 'create table t as select 2 as n'),
    ])
    expect(await query(one.databaseUrl, 'select n from t')).toEqual([{ n: 1 }])
    expect(await query(two.databaseUrl, 'select n from t')).toEqual([{ n: 2 }])
    expect(one.redisUrl).not.toBe(two.redisUrl)
  })

  it('take another port when a stranger listens on theirs', async () => {
    const home = newHome()
    const first = await open({ home, need: ['redis'] })
    const port = Number(new URL(first.redisUrl ?? '').port)
    await first.release()
    const stranger = await listen(port)
    onTestFinished(() => void stranger.close())
    const second = await open({ home, need: ['redis'] })
    expect(Number(new URL(second.redisUrl ?? '').port)).not.toBe(port)
    expect(await withRedis(second.redisUrl, (redis) => redis.ping())).toBe('PONG')
  })

  it('and their data are gone once their home is discarded', async () => {
    const home = newHome()
    const owner = await ownerProcess(home)
    const pids = [postmasterOf(home), redisOf(home)]
    owner.child.kill('SIGKILL')
    await ended(owner.child)
    await discardHome(home)
    expect(pids.map(startTokenOf)).toEqual([undefined, undefined])
    expect(existsSync(home)).toBe(false)
  })

  it('start only what is needed', async () => {
    const home = newHome()
    const { redisUrl } = await open({ home, need: ['postgres'] })
    expect(redisUrl).toBeUndefined()
    expect(existsSync(join(home, 'redis'))).toBe(false)
  })

  it('run below a folder that nobody else can enter', async () => {
    const home = newHome(0o700)
    const { databaseUrl } = await open({ home, need: ['postgres'] })
    expect(await query(databaseUrl, 'select 1 as n')).toEqual([{ n: 1 }])
  })

  it('refuse data of another PostgreSQL version in one line', async () => {
    const home = newHome()
    mkdirSync(join(home, 'postgres/data'), { recursive: true })
    writeFileSync(join(home, 'postgres/data/PG_VERSION'), '15\n')
    await expect(openServices({ home, need: ['postgres'] })).rejects.toThrow(
      /made by PostgreSQL 15, and this is 18\..*start afresh/,
    )
  })
})

/** Where we are root, PostgreSQL's own user passes through two folders, and lists neither. */
function passage(path: string): number {
  return isRoot && statSync(path).isDirectory() && !path.includes('/data') ? 0o011 : 0
}

function isBehindClosedFolder(path: string, home: string): boolean {
  const folder = dirname(path)
  return path !== home && ((statSync(folder).mode & 0o011) === 0 || isBehindClosedFolder(folder, home))
}

function isBelowClosedFolder(folder: string): boolean {
  const isClosed = (statSync(folder).mode & 0o001) === 0
  return isClosed || (dirname(folder) !== folder && isBelowClosedFolder(dirname(folder)))
}

describe.runIf(isRoot)('PostgreSQL as root', () => {
  it.each([
    ['nobody', 0o755],
    ['namespace', 0o700],
    ['elsewhere', 0o700],
  ] as const)('has a way out: %s', async (way, parentMode) => {
    const home = newHome(parentMode)
    mkdirSync(home)
    const chosen = choosePostgresSeat({ folder: home, token: 'a1', onProgress: () => {}, rootWays: [way] })
    // Nobody cannot reach the programs of a checkout that itself lies below a closed folder: that way must be refused.
    if (way === 'nobody' && isBelowClosedFolder(import.meta.dirname))
      return await expect(chosen).rejects.toThrow('nobody')
    const seat = await chosen
    if (way === 'elsewhere') onTestFinished(() => rmSync(seat.folder, { recursive: true }))
    expect(seat.folder === home).toBe(way !== 'elsewhere')
    const { file, args, options } = seat.command('postgres', ['--version'])
    expect(spawnSync(file, args, { ...options, encoding: 'utf8' }).stdout).toContain('(PostgreSQL) 18')
  })

  it('finds its data again when the checkout moves below a closed folder', async () => {
    const home = newHome(0o755)
    const first = await open({ home, need: ['postgres'] })
    await query(first.databaseUrl, 'create table t as select 7 as n')
    await first.release()
    chmodSync(join(home, '..'), 0o700)
    const second = await open({ home, need: ['postgres'] })
    expect(await query(second.databaseUrl, 'select n from t')).toEqual([{ n: 7 }])
  })
})

describe('services that the user names', () => {
  it('are used as they are, and nothing is started', async () => {
    const { databaseUrl, redisUrl } = await open({ home: newHome() })
    const home = newHome()
    const services = await openServices({ home, databaseUrl, redisUrl })
    expect(services).toMatchObject({ databaseUrl, redisUrl })
    await services.release()
    expect(existsSync(home)).toBe(false)
    expect(await query(databaseUrl, 'select 1 as n')).toEqual([{ n: 1 }])
  })

  it('that do not answer give one line without the password', async () => {
    const port = await freePort()
    const home = newHome()
    const failure = async (options: Partial<ServicesOptions>) =>
      openServices({ home, ...options }).then(
        () => '',
        (error: Error) => `${error.name}: ${error.message}`,
      )
    const databaseUrl = `postgres://u:geheim@127.0.0.1:${port}/x`
    expect(await failure({ databaseUrl })).toMatch(
      /^ServiceError: PostgreSQL at 127\.0\.0\.1:\d+ \(DATABASE_URL\) does not answer: .*ECONNREFUSED[^\n]*$/,
    )
    expect(await failure({ redisUrl: `redis://:geheim@127.0.0.1:${port}`, need: ['redis'] })).toMatch(
      /^ServiceError: Redis at 127\.0\.0\.1:\d+ \(REDIS_URL\) does not answer: .*ECONNREFUSED[^\n]*$/,
    )
    expect(await failure({ databaseUrl })).not.toContain('geheim')
    expect(await failure({ databaseUrl: 'localhost' })).toBe(
      'ServiceError: DATABASE_URL is not an address such as postgres://user:password@host:5432/database.',
    )
  })

  it('are refused when Redis would throw jobs away', async () => {
    const { redisUrl } = await open({ home: newHome(), need: ['redis'] })
    await withRedis(redisUrl, (redis) => redis.config('SET', 'maxmemory-policy', 'allkeys-lru'))
    await expect(openServices({ home: newHome(), redisUrl, need: ['redis'] })).rejects.toThrow(
      /has maxmemory-policy allkeys-lru .* redis-cli config set maxmemory-policy noeviction$/,
    )
  })
})

function listen(port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy())
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => resolve(server))
  })
}
