// The faults of the soak, one entry each: what breaks, for how long, and how it is mended.
// Hides nothing: whoever wants another fault adds an entry.
import { chmodSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { createDb } from '@fabrique/db'
import type { Chance } from './chance.ts'
import type { Installation } from './installation.ts'
import { CALM, type Mood, type Provider } from './provider.ts'

export interface Scene {
  installation: Installation
  provider: Provider
  chance: Chance
  /** What a reader of artifacts must never be given; told by hash, while the file on disk is another. */
  altered: Set<string>
}

export interface Fault {
  name: string
  /** Breaks something, and resolves when it is mended, or has to mend itself. */
  inflict(scene: Scene): Promise<void>
}

const OUTAGE_MS: [number, number] = [3_000, 15_000]
const FREEZE_MS: [number, number] = [5_000, 25_000]
const MOOD_MS: [number, number] = [5_000, 15_000]

export const FAULTS: Fault[] = [
  signal('a worker killed', 'worker', 'SIGKILL'),
  signal('a worker asked to stop', 'worker', 'SIGTERM'),
  { name: 'a worker frozen', inflict: (scene) => freeze(scene, oneOf(scene, 'worker')) },
  {
    name: 'all workers killed',
    async inflict({ installation }) {
      for (const pid of installation.pids('worker')) send(pid, 'SIGKILL')
    },
  },
  signal('the API killed', 'api', 'SIGKILL'),
  signal('the API asked to stop', 'api', 'SIGTERM'),
  {
    name: 'the supervisor killed',
    async inflict({ installation }) {
      send(installation.supervisorPid(), 'SIGKILL')
    },
  },
  {
    name: 'Redis emptied',
    async inflict({ installation }) {
      await installation.redis.flushall()
    },
  },
  {
    name: 'Redis killed, and back empty',
    async inflict({ installation }) {
      await installation.redis.flushall()
      send(await installation.redisPid(), 'SIGKILL')
    },
  },
  outage('Redis away', 'redis'),
  silent('old connections of Redis silent', 'redis'),
  {
    name: 'Redis out of memory',
    async inflict({ installation: { redis }, chance }) {
      await during(chance.between(...OUTAGE_MS), {
        begin: () => redis.config('SET', 'maxmemory', '1mb'),
        end: () => redis.config('SET', 'maxmemory', '0'),
      })
    },
  },
  {
    name: 'Redis read-only',
    async inflict({ installation: { redis }, chance }) {
      await during(chance.between(...OUTAGE_MS), {
        begin: () => redis.replicaof('127.0.0.1', 1),
        end: () => redis.replicaof('NO', 'ONE'),
      })
    },
  },
  {
    name: 'PostgreSQL killed',
    async inflict({ installation }) {
      send(await installation.postmasterPid(), 'SIGQUIT')
    },
  },
  {
    name: 'connections of PostgreSQL terminated',
    async inflict({ installation }) {
      for (let times = 0; times < 10; times += 1) {
        await installation.query(
          'select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database()',
        )
        await delay(300)
      }
    },
  },
  outage('PostgreSQL away', 'postgres'),
  silent('old connections of PostgreSQL silent', 'postgres'),
  {
    name: 'a table of PostgreSQL locked',
    async inflict({ installation, chance }) {
      const seconds = chance.between(...OUTAGE_MS) / 1000
      await installation.query(
        `do $$ begin lock table runs in access exclusive mode; perform pg_sleep(${seconds}); end $$`,
      )
    },
  },
  {
    name: 'PostgreSQL read-only',
    async inflict({ installation, chance }) {
      const set = async (value: 'on' | 'off') => {
        await installation.query('set default_transaction_read_only = off')
        await installation.query(`alter system set default_transaction_read_only = ${value}`)
        await installation.query('select pg_reload_conf()')
      }
      await during(chance.between(...OUTAGE_MS), { begin: () => set('on'), end: () => set('off') })
    },
  },
  {
    name: 'no free connection of PostgreSQL',
    async inflict({ installation, chance }) {
      const hoard = createDb({ databaseUrl: installation.databaseUrl, connectionsMax: 300, limitMs: 60_000 })
      const seconds = chance.between(...OUTAGE_MS) / 1000
      const held = Array.from({ length: 300 }, () => hoard.query('', 'select pg_sleep($1)', [seconds]).catch(() => {}))
      await Promise.all(held)
      await hoard.close()
    },
  },
  {
    name: 'the artifact store gone',
    async inflict({ installation, chance }) {
      const [folder, aside] = [storeOf(installation), `${storeOf(installation)}-aside`]
      if (!existsSync(folder)) return
      await during(chance.between(...OUTAGE_MS), {
        begin: () => {
          renameSync(folder, aside)
          writeFileSync(folder, '')
        },
        end: () => {
          rmSync(folder)
          renameSync(aside, folder)
        },
      })
    },
  },
  {
    name: 'an artifact altered',
    async inflict(scene) {
      const files = existsSync(storeOf(scene.installation)) ? blobsOf(storeOf(scene.installation)) : []
      if (files.length === 0) return
      const file = scene.chance.pick(files)
      const bytes = readFileSync(file)
      bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 0xff
      chmodSync(file, 0o600)
      writeFileSync(file, bytes)
      scene.altered.add(file)
    },
  },
  mood('a provider that fails', { ...CALM, fails: 0.3, limits: 0.1 }),
  mood('a provider that drops connections', { ...CALM, drops: 0.2, loses: 0.1 }),
  mood('a provider that hangs', { ...CALM, hangs: 0.2 }),
]

function signal(name: string, program: 'api' | 'worker', what: NodeJS.Signals): Fault {
  return {
    name,
    async inflict(scene) {
      send(oneOf(scene, program), what)
    },
  }
}

function outage(name: string, service: 'postgres' | 'redis'): Fault {
  return {
    name,
    async inflict({ installation, chance }) {
      const wire = installation.wires[service]
      await during(chance.between(...OUTAGE_MS), { begin: () => wire.cut(), end: () => wire.restore() })
    },
  }
}

function silent(name: string, service: 'postgres' | 'redis'): Fault {
  return {
    name,
    async inflict({ installation }) {
      installation.wires[service].silence()
    },
  }
}

function mood(name: string, feels: Mood): Fault {
  return {
    name,
    async inflict({ provider, chance }) {
      await during(chance.between(...MOOD_MS), {
        begin: () => provider.setMood(feels),
        end: () => provider.setMood(CALM),
      })
    },
  }
}

async function during(ms: number, { begin, end }: { begin(): unknown; end(): unknown }): Promise<void> {
  await begin()
  await delay(ms)
  await end()
}

async function freeze({ chance }: Scene, pid: number): Promise<void> {
  await during(chance.between(...FREEZE_MS), {
    begin: () => send(pid, 'SIGSTOP'),
    end: () => send(pid, 'SIGCONT'),
  })
}

function oneOf({ installation, chance }: Scene, program: 'api' | 'worker'): number {
  const pids = installation.pids(program)
  return pids.length === 0 ? 0 : chance.pick(pids)
}

/** Nothing to do for a process that is gone already. */
function send(pid: number, what: NodeJS.Signals): void {
  if (pid <= 1) return
  try {
    process.kill(pid, what)
  } catch {}
}

function storeOf({ home }: Installation): string {
  return join(home, 'artifacts')
}

function blobsOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => statSync(file).size > 0)
}
