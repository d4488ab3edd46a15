// Templates and their frozen versions. The row is what runs; a version is frozen the first time that it is listed.
// Hides locking: an edit sees the latest row and holds it until the edit is written or given up.
import type { StoredTemplate, TemplateEdit, TemplateRecords, TemplateView } from '@fabrique/engine'
import type { JsonObject, Visibility } from '@fabrique/schema'
import { type Selectable, sql, type Transaction } from 'kysely'
import { LRUCache } from 'lru-cache'
import type { Db } from './client.ts'
import { camelCased, withTimesAsText } from './row-shape.ts'
import { createSingleFlight } from './single-flight.ts'
import type { Tables } from './tables.ts'

export interface TemplateStore extends TemplateRecords {
  get(id: string): Promise<StoredTemplate | null>
  /** By id; listed ones only, or drafts too. */
  list(options: { drafts: boolean }): Promise<StoredTemplate[]>
  versions(id: string): Promise<{ version: string; publishedAt: string; definitionHash: string }[]>
  version(id: string, version: string): Promise<JsonObject | null>
  /** Ids and documents of listed templates, for guards that follow sub-workflows. */
  listed(ids: string[]): Promise<Map<string, JsonObject>>
}

const DOCUMENTS_CACHED_MAX = 1_000

type TemplateRow = Selectable<Tables['templates']>

/** The PostgreSQL template store. */
export function createTemplateStore(db: Db): TemplateStore {
  // One edit at a time: it holds a connection while `change` asks for others, and many would starve each other.
  let lastEdit: Promise<void> = Promise.resolve()
  // Documents by id and revision: runs only ask whether the revision still stands.
  const documents = new LRUCache<string, { revision: number; document: JsonObject }>({ max: DOCUMENTS_CACHED_MAX })
  const heads = createSingleFlight(async (id) => {
    const [row] = await db.query<{ revision: number; visibility: Visibility }>(
      'templates.head',
      'select revision, visibility from templates where id = $1',
      [id],
    )
    return row ?? null
  })

  function view(trx: Transaction<Tables>): TemplateView {
    return {
      async frozenHash(id, version) {
        const row = await trx
          .selectFrom('template_versions')
          .select('definition_hash')
          .where('template_id', '=', id)
          .where('version', '=', version)
          .executeTakeFirst()
        return row?.definition_hash ?? null
      },
      async callersOf(id) {
        const rows = await trx
          .selectFrom('templates')
          .select('id')
          .where('visibility', '!=', 'draft')
          .where('id', '!=', id)
          .where(
            sql<boolean>`(document -> 'runtimeSteps')::jsonb @> jsonb_build_array(jsonb_build_object('kind', 'workflow', 'workflow', ${id}::text))`,
          )
          .orderBy('id')
          .execute()
        return rows.map((row) => row.id)
      },
    }
  }

  async function freeze(trx: Transaction<Tables>, edit: TemplateEdit): Promise<void> {
    if (edit.freeze === null) return
    await trx
      .insertInto('template_versions')
      .values({
        template_id: edit.id,
        version: edit.freeze.version,
        document: JSON.stringify(edit.document),
        definition_hash: edit.freeze.definitionHash,
      })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
  }

  return {
    async get(id) {
      const row = await db.kysely.selectFrom('templates').selectAll().where('id', '=', id).executeTakeFirst()
      return row === undefined ? null : stored(row)
    },
    async list({ drafts }) {
      let query = db.kysely.selectFrom('templates').selectAll().orderBy('id').limit(1000)
      if (!drafts) query = query.where('visibility', '!=', 'draft')
      return (await query.execute()).map(stored)
    },
    async create(owner, edit) {
      return await db.kysely.transaction().execute(async (trx) => {
        const row = await trx
          .insertInto('templates')
          .values({
            id: edit.id,
            document: JSON.stringify(edit.document),
            visibility: edit.visibility,
            owner,
            ever_listed: edit.visibility !== 'draft',
          })
          .onConflict((conflict) => conflict.doNothing())
          .returningAll()
          .executeTakeFirst()
        if (row === undefined) return null
        await freeze(trx, edit)
        return stored(row)
      })
    },
    async edit(id, change) {
      const { promise: done, resolve: end } = Promise.withResolvers<void>()
      const turn = lastEdit
      lastEdit = done
      await turn
      const edited = db.kysely.transaction().execute(async (trx) => {
        const current = await trx
          .selectFrom('templates')
          .selectAll()
          .where('id', '=', id)
          .forUpdate()
          .executeTakeFirst()
        if (current === undefined) return null
        const edit = await change(stored(current), view(trx))
        const row = await trx
          .updateTable('templates')
          .set({
            id: edit.id,
            document: JSON.stringify(edit.document),
            visibility: edit.visibility,
            revision: current.revision + 1,
            ever_listed: current.ever_listed || edit.visibility !== 'draft',
            updated_at: sql`now()`,
          })
          .where('id', '=', id)
          .returningAll()
          .executeTakeFirstOrThrow()
        await freeze(trx, edit)
        return stored(row)
      })
      return await edited.finally(end)
    },
    async versions(id) {
      const rows = await db.kysely
        .selectFrom('template_versions')
        .select(['version', 'published_at', 'definition_hash'])
        .where('template_id', '=', id)
        .orderBy('published_at', 'desc')
        .orderBy('version', 'desc')
        .execute()
      return rows.map((row) => camelCased(withTimesAsText(row)))
    },
    async version(id, version) {
      const row = await db.kysely
        .selectFrom('template_versions')
        .select('document')
        .where('template_id', '=', id)
        .where('version', '=', version)
        .executeTakeFirst()
      return row?.document ?? null
    },
    async listed(ids) {
      if (ids.length === 0) return new Map()
      const rows = await db.kysely
        .selectFrom('templates')
        .select(['id', 'document'])
        .where('id', 'in', ids)
        .where('visibility', '!=', 'draft')
        .execute()
      return new Map(rows.map((row) => [row.id, row.document]))
    },
    async findRunnable(id, version, drafts) {
      const head = await heads(id)
      if (head === null || (head.visibility === 'draft' && !drafts)) return null
      const known = documents.get(id)
      const document = known?.revision === head.revision ? known.document : await read(id)
      if (document !== null && (version === null || document.version === version)) {
        return { document, draft: head.visibility === 'draft' }
      }
      const frozen = version === null ? null : await this.version(id, version)
      return frozen === null ? null : { document: frozen, draft: false }
    },
  }

  async function read(id: string): Promise<JsonObject | null> {
    const row = await db.kysely
      .selectFrom('templates')
      .select(['document', 'revision'])
      .where('id', '=', id)
      .executeTakeFirst()
    if (row === undefined) return null
    documents.set(id, row)
    return row.document
  }
}

const stored = (row: TemplateRow): StoredTemplate => camelCased(withTimesAsText(row))
