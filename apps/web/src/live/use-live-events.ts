// Events of the organization made visible: what they touch is asked for again.
import type { RunEvent } from '@fabrique/schema'
import { type QueryKey, useQueryClient } from '@tanstack/react-query'
import { useEffect, useState } from 'react'
import { sessionEnded } from '../api/http.ts'
import { sessionQuery } from '../api/queries.ts'
import { type Connection, followEvents } from './follow-events.ts'

/** Events come in bursts; what they touch is asked for at most so often. */
const EVERY_MS = 400

/** Keeps what is shown up to date; answers how the connection is. */
export function useLiveEvents(): Connection {
  const client = useQueryClient()
  const [connection, setConnection] = useState<Connection>('connecting')
  useEffect(() => {
    const abort = new AbortController()
    const touched = new Map<string, QueryKey>()
    let timer: ReturnType<typeof setTimeout> | undefined

    function flush(): void {
      timer = undefined
      for (const queryKey of touched.values()) void client.invalidateQueries({ queryKey })
      touched.clear()
    }
    function touch(...keys: QueryKey[]): void {
      for (const key of keys) touched.set(JSON.stringify(key), key)
      timer ??= setTimeout(flush, EVERY_MS)
    }
    followEvents(
      {
        onEvent({ kind, run_id, root_run_id }: RunEvent) {
          touch(['run', run_id], ['run', root_run_id])
          if (kind.startsWith('workflow.run.')) touch(['runs'], ['reviews'])
          if (kind === 'workflow.artifact.created') touch(['artifacts'])
        },
        onGap: () => touch(['run'], ['runs'], ['reviews'], ['artifacts']),
        onConnection: setConnection,
        async mayConnect() {
          const isSignedIn = (await client.fetchQuery({ ...sessionQuery, staleTime: 0 })) !== null
          // A stream says nothing of why it ended; no other request may ever do.
          if (!isSignedIn) sessionEnded()
          return isSignedIn
        },
      },
      abort.signal,
    )
    return () => {
      abort.abort()
      clearTimeout(timer)
    }
  }, [client])
  return connection
}
