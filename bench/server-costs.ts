// What a case costs the servers beside time: CPU of the worker, of PostgreSQL and of Redis, and write-ahead log.
// Hides where the operating system keeps it; CPU is read from /proc and left out where there is none.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import type { Db } from '@fabrique/db'
import type { Redis } from 'ioredis'

/** Linux counts a process's CPU in hundredths of a second, whatever its kernel's clock. */
const TICK_US = 10_000

export interface ServerCosts {
  workerUs: number
  postgresUs: number
  redisUs: number
  walBytes: number
}

/** Reads all counters; the difference of two readings is what happened between them. */
export async function readServerCosts(servers: { db: Db; redis: Redis; workerPid: number }): Promise<ServerCosts> {
  const [row] = await servers.db.query<{ wal: number; pid: number }>(
    'bench.costs',
    `select (pg_current_wal_lsn() - '0/0')::float8 as wal, pg_backend_pid() as pid`,
    [],
  )
  const cpu = await servers.redis.info('cpu')
  const redisSeconds = ['used_cpu_sys', 'used_cpu_user'].map((name) =>
    Number(new RegExp(`^${name}:([0-9.]+)`, 'm').exec(cpu)?.[1]),
  )
  return {
    workerUs: processOf(servers.workerPid)?.ownUs ?? Number.NaN,
    postgresUs: row === undefined ? Number.NaN : familyUs(processOf(row.pid)?.parent),
    redisUs: redisSeconds.reduce((sum, seconds) => sum + seconds, 0) * 1e6,
    walBytes: row?.wal ?? Number.NaN,
  }
}

/** The CPU of a process and its children, those included that have ended. */
function familyUs(parent: number | undefined): number {
  const top = parent === undefined ? null : processOf(parent)
  if (top === null) return Number.NaN
  const children = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => processOf(Number(name)))
    .filter((one) => one?.parent === parent)
  return children.reduce((sum, child) => sum + (child?.ownUs ?? 0), top.ownUs + top.endedUs)
}

function processOf(pid: number): { parent: number; ownUs: number; endedUs: number } | null {
  const path = `/proc/${pid}/stat`
  if (!existsSync(path)) return null
  try {
    const text = readFileSync(path, 'utf8')
    // Behind the name, which may hold anything: state, parent, …; fields 14 to 17 of proc(5) are the times.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    const sum = (from: number) => (Number(fields[from]) + Number(fields[from + 1])) * TICK_US
    return { parent: Number(fields[1]), ownUs: sum(11), endedUs: sum(13) }
  } catch {
    // It has ended since.
    return null
  }
}
