// Templates and their frozen versions. The row is what runs; a version is frozen the first time that it is listed.
// Hides locking: an edit sees the latest row and holds it until the edit is written or given up.
import type { StoredTemplate, TemplateEdit, TemplateRecords, TemplateView } from '@fabrique/engine'
import type { JsonObject, Visibility } from '@fabrique/schema'
import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import { LRUCache } from 'lru-cache'
import type { Db } from './client.ts'
import { camelCased, withTimesAsText } from './row-shape.ts'
import { createSingleFlight } from './single-flight.ts'
import type { Tables } from './tables.ts'

const DOCUMENTS_CACHED_MAX = 1_000

type TemplateRow = Selectable<Tables['templates']>
export type TemplateStore = ReturnType<typeof createTemplateStore>

/** The PostgreSQL template store. */
export function createTemplateStore(db: Db) {
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

  async function frozen(kysely: Kysely<Tables>, id: string, version: string) {
    return await kysely
      .selectFrom('template_versions')
      .select(['document', 'definition_hash'])
      .where((eb) => eb.and({ template_id: id, version }))
      .executeTakeFirst()
  }

  function view(trx: Transaction<Tables>): TemplateView {
    return {
      async frozenHash(id, version) {
        return (await frozen(trx, id, version))?.definition_hash ?? null
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

  const columns = ({ id, document, visibility }: TemplateEdit) => ({
    id,
    document: JSON.stringify(document),
    visibility,
  })

  return {
    async get(id: string): Promise<StoredTemplate | null> {
      const row = await db.kysely.selectFrom('templates').selectAll().where('id', '=', id).executeTakeFirst()
      return row === undefined ? null : stored(row)
    },
    /** By id; listed ones only, or drafts too. */
    async list({ drafts }: { drafts: boolean }): Promise<StoredTemplate[]> {
      let query = db.kysely.selectFrom('templates').selectAll().orderBy('id').limit(1000)
      if (!drafts) query = query.where('visibility', '!=', 'draft')
      return (await query.execute()).map(stored)
    },
    async create(owner: string, edit: TemplateEdit): Promise<StoredTemplate | null> {
      return await db.kysely.transaction().execute(async (trx) => {
        const row = await trx
          .insertInto('templates')
          .values({ ...columns(edit), owner, ever_listed: edit.visibility !== 'draft' })
          .onConflict((conflict) => conflict.doNothing())
          .returningAll()
          .executeTakeFirst()
        if (row === undefined) return null
        await freeze(trx, edit)
        return stored(row)
      })
    },
    async edit(id: string, change: Parameters<TemplateRecords['edit']>[1]): Promise<StoredTemplate | null> {
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
            ...columns(edit),
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
    async versions(id: string) {
      const rows = await db.kysely
        .selectFrom('template_versions')
        .select(['version', 'published_at', 'definition_hash'])
        .where('template_id', '=', id)
        .orderBy('published_at', 'desc')
        .orderBy('version', 'desc')
        .execute()
      return rows.map((row) => camelCased(withTimesAsText(row)))
    },
    async version(id: string, version: string): Promise<JsonObject | null> {
      return (await frozen(db.kysely, id, version))?.document ?? null
    },
    /** Ids and documents of listed templates, for guards that follow sub-workflows. */
    async listed(ids: string[]): Promise<Map<string, JsonObject>> {
      if (ids.length === 0) return new Map()
      const rows = await db.kysely
        .selectFrom('templates')
        .select(['id', 'document'])
        .where('id', 'in', ids)
        .where('visibility', '!=', 'draft')
        .execute()
      return new Map(rows.map((row) => [row.id, row.document]))
    },
    async findRunnable(id: string, version: string | null, drafts: boolean) {
      const head = await heads(id)
      if (head === null || (head.visibility === 'draft' && !drafts)) return null
      const known = documents.get(id)
      const document = known?.revision === head.revision ? known.document : await read(id)
      if (document !== null && (version === null || document.version === version)) {
        return { document, draft: head.visibility === 'draft' }
      }
      const published = version === null ? undefined : await frozen(db.kysely, id, version)
      return published === undefined ? null : { document: published.document, draft: false }
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
