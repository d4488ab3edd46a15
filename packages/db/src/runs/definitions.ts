// Loads the definitions that runs execute.
import type { Definition } from '@fabrique/engine'
import type { Db } from '../client.ts'

type OfDefinition = { definition_hash: string }

/** Looks up the definition of each of these runs; a hash that is not theirs throws. */
export async function definitionsOf(db: Db, runs: readonly OfDefinition[]): Promise<(run: OfDefinition) => Definition> {
  const rows = await db.kysely
    .selectFrom('specifications')
    .select(['hash', 'definition'])
    .where('hash', 'in', [...new Set(runs.map((run) => run.definition_hash))])
    .execute()
  const byHash = new Map(rows.map(({ hash, definition }) => [hash, definition]))
  return ({ definition_hash: hash }) => {
    const definition = byHash.get(hash)
    if (definition === undefined) throw new Error(`the specification ${hash} is not in the record`)
    return definition
  }
}
