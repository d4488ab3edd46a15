// What runs execute, looked up for several runs at once.
import type { Definition } from '@fabrique/engine'
import type { ArtifactClass } from '@fabrique/schema'
import { type Kysely, type RawBuilder, sql } from 'kysely'
import type { Tables } from '../tables.ts'

type OfDefinition = { definition_hash: string }
type LookUp<Value> = (run: OfDefinition) => Value

async function lookUp<Value>(
  kysely: Kysely<Tables>,
  runs: readonly OfDefinition[],
  value: RawBuilder<Value>,
): Promise<LookUp<Value>> {
  const hashes = [...new Set(runs.map((run) => run.definition_hash))]
  const { rows } = await sql<{ hash: string; value: Value }>`
    select hash, ${value} as value from specifications where hash = any(${hashes}::text[])`.execute(kysely)
  const byHash = new Map(rows.map((row) => [row.hash, row.value]))
  return ({ definition_hash: hash }) => {
    const found = byHash.get(hash)
    if (found === undefined) throw new Error(`the specification ${hash} is not in the record`)
    return found
  }
}

/** Looks up the definition of each of these runs; asked for another run, it throws. */
export const definitionsOf = (kysely: Kysely<Tables>, runs: readonly OfDefinition[]) =>
  lookUp(kysely, runs, sql<Definition>`definition`)

/** The same for the price list that each definition names. */
export const pricingVersionsOf = (kysely: Kysely<Tables>, runs: readonly OfDefinition[]) =>
  lookUp(kysely, runs, sql<string>`definition ->> 'pricingVersion'`)

/** The same for the class of the artifacts that each definition makes. */
export const artifactClassesOf = (kysely: Kysely<Tables>, runs: readonly OfDefinition[]) =>
  lookUp(kysely, runs, sql<ArtifactClass>`definition ->> 'artifactClass'`)
