// Templates and their frozen versions. The row is what runs; a version is frozen the first time that it is listed.
// Hides locking: an edit sees the latest row and holds it until the edit is written or given up.
import { type JsonObject, SCHEMA_VERSIONS, type Template, type Visibility } from '@fabrique/schema'
import { type Selectable, sql, type Transaction } from 'kysely'
import { type Db, translated } from './client.ts'
import { createSingleFlight } from './single-flight.ts'
import type { Tables } from './tables.ts'

export interface StoredTemplate {
  id: string
  /** Normalised, without `visibility` and `owner`; whatever else the author has saved so far. */
  document: JsonObject
  visibility: Visibility
  owner: string
  /** Counts edits: the ETag. */
  revision: number
  everListed: boolean
  createdAt: string
  updatedAt: string
}

/** What an edit wants to be written. `freeze` lists this version: it is stored if new. */
export interface TemplateEdit {
  id: string
  document: JsonObject
  visibility: Visibility
  freeze: { version: string; definitionHash: string } | null
}

/** What an edit may look at while it holds the row. */
export interface TemplateView {
  /** Definition hash of a frozen version, or null if that version was never listed. */
  frozenHash(id: string, version: string): Promise<string | null>
  /** Ids of listed templates with a step that calls this one. */
  callersOf(id: string): Promise<string[]>
}

export interface TemplateStore {
  get(id: string): Promise<StoredTemplate | null>
  /** By id; listed ones only, or drafts too. */
  list(options: { drafts: boolean }): Promise<StoredTemplate[]>
  /** Inserts under the same rules as `edit`; null if the id is taken. */
  create(owner: string, edit: TemplateEdit): Promise<StoredTemplate | null>
  /** Edits the row that nobody else can change meanwhile; null if there is none. What `change` throws, undoes it. */
  edit(
    id: string,
    change: (current: StoredTemplate, view: TemplateView) => Promise<TemplateEdit>,
  ): Promise<StoredTemplate | null>
  versions(id: string): Promise<{ version: string; publishedAt: string; definitionHash: string }[]>
  version(id: string, version: string): Promise<JsonObject | null>
  /** Ids and documents of listed templates, for guards that follow sub-workflows. */
  listed(ids: string[]): Promise<Map<string, JsonObject>>
  /** A complete template that may run now: listed, or a draft where those are allowed; null otherwise. */
  findRunnable(id: string, version: string | null, drafts: boolean): Promise<Template | null>
}

type TemplateRow = Selectable<Tables['templates']>

/** The PostgreSQL template store. */
export function createTemplateStore(db: Db): TemplateStore {
  const away = (error: unknown) => {
    throw translated(error)
  }
  // Documents by id and revision: runs only ask whether the revision still stands.
  const documents = new Map<string, { revision: number; template: Template }>()
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
            sql<boolean>`document -> 'runtimeSteps' @> jsonb_build_array(jsonb_build_object('kind', 'workflow', 'workflow', ${id}::text))`,
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
      const row = await db.kysely
        .selectFrom('templates')
        .selectAll()
        .where('id', '=', id)
        .executeTakeFirst()
        .catch(away)
      return row === undefined ? null : stored(row)
    },
    async list({ drafts }) {
      let query = db.kysely.selectFrom('templates').selectAll().orderBy('id').limit(1000)
      if (!drafts) query = query.where('visibility', '!=', 'draft')
      return (await query.execute().catch(away)).map(stored)
    },
    async create(owner, edit) {
      return await db.kysely
        .transaction()
        .execute(async (trx) => {
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
        .catch(away)
    },
    async edit(id, change) {
      return await db.kysely
        .transaction()
        .execute(async (trx) => {
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
        .catch(away)
    },
    async versions(id) {
      const rows = await db.kysely
        .selectFrom('template_versions')
        .select(['version', 'published_at', 'definition_hash'])
        .where('template_id', '=', id)
        .orderBy('published_at', 'desc')
        .orderBy('version', 'desc')
        .execute()
        .catch(away)
      return rows.map((row) => ({
        version: row.version,
        publishedAt: row.published_at.toISOString(),
        definitionHash: row.definition_hash,
      }))
    },
    async version(id, version) {
      const row = await db.kysely
        .selectFrom('template_versions')
        .select('document')
        .where('template_id', '=', id)
        .where('version', '=', version)
        .executeTakeFirst()
        .catch(away)
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
        .catch(away)
      return new Map(rows.map((row) => [row.id, row.document]))
    },
    async findRunnable(id, version, drafts) {
      const head = await heads(id)
      if (head === null || (head.visibility === 'draft' && !drafts)) return null
      if (version !== null) {
        const frozen = await this.version(id, version)
        if (frozen !== null) return frozen as unknown as Template
      }
      const known = documents.get(id)
      const template = known?.revision === head.revision ? known.template : await read(id)
      if (template === null || (version !== null && template.version !== version)) return null
      return template
    },
  }

  async function read(id: string): Promise<Template | null> {
    const row = await db.kysely.selectFrom('templates').selectAll().where('id', '=', id).executeTakeFirst().catch(away)
    if (row === undefined) return null
    // A draft may lack anything; what it lacks is named by the guards before it runs.
    const template = { schemaVersion: SCHEMA_VERSIONS[0], ...row.document } as unknown as Template
    documents.set(id, { revision: row.revision, template })
    return template
  }
}

function stored(row: TemplateRow): StoredTemplate {
  return {
    id: row.id,
    document: row.document,
    visibility: row.visibility,
    owner: row.owner,
    revision: row.revision,
    everListed: row.ever_listed,
    createdAt: row.created_at.toISOString(),
    updatedAt: row.updated_at.toISOString(),
  }
}
