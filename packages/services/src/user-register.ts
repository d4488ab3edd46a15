/**
 * Who uses the servers of a home folder at the moment: one file per user, named by process id and start token.
 * Hides that a user killed by SIGKILL leaves its file behind: such files do not count and are removed when seen.
 */
import { randomUUID } from 'node:crypto'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makePrivate } from './home-file.ts'
import { startTokenOf } from './process-table.ts'

/** What a process can need of a home folder. */
export type ServiceName = 'postgres' | 'redis'

/** Enters this process as a user of the services; returns what takes it out again. Call both under the home's lock. */
export function enterUser(folder: string, needs: ServiceName[]): () => void {
  makePrivate(folder)
  const file = join(folder, `${process.pid}-${startTokenOf(process.pid)}-${randomUUID()}`)
  writeFileSync(file, needs.join(' '), { mode: 0o600 })
  return () => rmSync(file, { force: true })
}

/** The services that at least one live process still needs. */
export function neededServices(folder: string): Set<ServiceName> {
  const needed = new Set<ServiceName>()
  for (const name of readdirSync(folder)) {
    const [pid = '', token] = name.split('-')
    if (startTokenOf(Number(pid)) !== token) {
      rmSync(join(folder, name), { force: true })
      continue
    }
    for (const need of readFileSync(join(folder, name), 'utf8').split(' ')) needed.add(need as ServiceName)
  }
  return needed
}
