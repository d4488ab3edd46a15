// Authoring templates: saving, promoting, demoting, and what each of these may change.
// Hides the ladder's rules; what makes a template listable is `guards.ts`, where it is kept is a port.
import {
  definitionOf,
  FabriqueError,
  isJsonObject,
  type JsonObject,
  type JsonValue,
  normalizeTemplate,
  type Problem,
  RESERVED_ID_PARTS,
  type Template,
  textOf,
  VISIBILITIES,
  type Visibility,
  WorkflowId,
} from '@fabrique/schema'
import { contentHash } from './compile.ts'
import { adviseOn, checkTemplate, type GuardDeps } from './guards/guards.ts'
import { endsIn, endsOf, type NamedEnd } from './model-ends.ts'

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

/** Where templates are kept. */
export interface TemplateRecords {
  /** Inserts; null if the id is taken. */
  create(owner: string, edit: TemplateEdit): Promise<StoredTemplate | null>
  /** Edits the row that nobody else can change meanwhile; null if there is none. What `change` throws, undoes it. */
  edit(
    id: string,
    change: (current: StoredTemplate, view: TemplateView) => Promise<TemplateEdit>,
  ): Promise<StoredTemplate | null>
  /** A template that may run now: listed, or a draft where those are allowed; null otherwise. */
  findRunnable(
    id: string,
    version: string | null,
    drafts: boolean,
  ): Promise<{ document: JsonObject; draft: boolean } | null>
}

export interface Saved {
  template: StoredTemplate
  /** What would keep a draft from being listed; empty for a listed template. */
  problems: Problem[]
  /** What will keep it from running one day, and what it may pay for in vain. */
  warnings: Problem[]
}

export interface Authoring {
  /** Creates a template: a draft unless the document names a listed rung. */
  create(owner: string, document: JsonValue): Promise<Saved>
  /** Applies a JSON merge-patch (RFC 7396). `ifMatch` is the revision that the author saw, if he said so. */
  patch(id: string, patch: JsonValue, ifMatch: number | null): Promise<Saved>
  /** The template that a run would execute, checked if it is a draft; null if there is none that may run. */
  runnable(id: string, version: string | null, drafts: boolean): Promise<Template | null>
  /** Finds where documents name models that end soon or have ended, as things stand now. */
  modelEnds(): Promise<(document: JsonObject) => NamedEnd[]>
}

/** Authoring over records, with the guards that a listed template must pass. */
export function createAuthoring(deps: GuardDeps & { templates: TemplateRecords }): Authoring {
  const records = deps.templates
  const check = (document: JsonObject): Promise<Problem[]> => checkTemplate(document, deps)

  async function freezeOf(document: JsonObject, visibility: Visibility): Promise<TemplateEdit['freeze']> {
    if (visibility === 'draft') return null
    const problems = await check(document)
    if (problems.length > 0) {
      const count = `${problems.length} problem${problems.length === 1 ? '' : 's'}`
      const code = problems.every((one) => one.code === 'model-retired') ? 'model-retired' : 'not-publishable'
      throw new FabriqueError(code, `The template cannot be ${visibility} yet: ${count}.`, { problems })
    }
    return { version: textOf(document.version), definitionHash: contentHash(definitionOf(document)) }
  }

  async function saved(template: StoredTemplate): Promise<Saved> {
    const { visibility, document } = template
    const problems = visibility === 'draft' ? await check(document) : []
    const ends = (await modelEnds())(document).filter(({ end }) => end.daysLeft >= 0)
    const advice = problems.length === 0 ? await adviseOn(document, deps) : []
    return { template, problems, warnings: [...ends.map(({ problem }) => problem), ...advice] }
  }

  async function modelEnds() {
    const ends = endsOf((await deps.pricing.current()).models, deps.clock.nowMs())
    return (document: JsonObject) => endsIn(document, ends)
  }

  return {
    modelEnds,

    async create(owner, source) {
      const { document, visibility = 'draft' } = split(source)
      const id = newId(document.id)
      const edit = { id, document, visibility, freeze: await freezeOf(document, visibility) }
      const template = await records.create(owner, edit)
      if (template === null) {
        const message = `There is a workflow "${id}" already; PATCH it, or choose another id.`
        throw new FabriqueError('already-exists', message)
      }
      return await saved(template)
    },

    async patch(id, patch, ifMatch) {
      if (!isJsonObject(patch)) throw notAnObject('A merge-patch')
      const template = await records.edit(id, async (current, view) => {
        if (ifMatch !== null && ifMatch !== current.revision) {
          const message = 'The template was changed since you read it; read it again and repeat your change.'
          throw new FabriqueError('version-conflict', message)
        }
        const merged = mergePatch({ ...current.document, visibility: current.visibility }, patch)
        const { document, visibility = current.visibility } = split(merged)
        if (document.id !== current.id)
          throw new FabriqueError('id-immutable', 'The id of a workflow cannot change; create another one.')
        await refuseChangedVersion(current, document, view)
        if (visibility === 'draft' && current.visibility !== 'draft') await refuseIfCalled(id, view)
        return { id, document, visibility, freeze: await freezeOf(document, visibility) }
      })
      if (template === null) throw new FabriqueError('not-found', 'There is no such workflow.')
      return await saved(template)
    },

    async runnable(id, version, drafts) {
      const found = await records.findRunnable(id, version, drafts)
      if (found === null) return null
      if (found.draft) {
        const problems = await check(found.document)
        if (problems.length > 0)
          throw new FabriqueError('not-runnable', 'The draft cannot run as it stands.', { problems })
      }
      // Listed documents passed the guards when they were saved.
      return found.document as unknown as Template
    },
  }
}

/** A version that was ever listed keeps its definition, whatever rung the template is on now. */
async function refuseChangedVersion(current: StoredTemplate, document: JsonObject, view: TemplateView): Promise<void> {
  if (typeof document.version !== 'string') return
  const frozen = await view.frozenHash(current.id, document.version)
  if (frozen === null || frozen === contentHash(definitionOf(document))) return
  const message = `Version ${document.version} was published and cannot change; give the new definition a new version.`
  throw refusal('version-immutable', message, '/version', "name a new version, such as today's date")
}

async function refuseIfCalled(id: string, view: TemplateView): Promise<void> {
  const callers = await view.callersOf(id)
  if (callers.length === 0) return
  const problems = callers.map((caller) => {
    return { pointer: '/visibility', detail: `"${caller}" calls this workflow`, code: 'workflow-in-use' }
  })
  const message = `Other listed workflows call "${id}" and would break: ${callers.join(', ')}. Change or demote them first.`
  throw new FabriqueError('workflow-in-use', message, { problems })
}

/** The document without what the engine keeps beside it. */
function split(source: JsonValue): { document: JsonObject; visibility?: Visibility } {
  if (!isJsonObject(source)) throw notAnObject('A template')
  const { visibility, owner: _, problems: __, warnings: ___, ...rest } = normalizeTemplate(source)
  if (visibility === undefined || visibility === null) return { document: rest }
  const rung = VISIBILITIES.find((one) => one === visibility)
  if (rung !== undefined) return { document: rest, visibility: rung }
  const detail = `must be one of ${VISIBILITIES.join(', ')}`
  throw refusal('validation-failed', 'The template is not valid.', '/visibility', detail, 'invalid')
}

function newId(id: unknown): string {
  const parsed = WorkflowId.safeParse(id)
  const reserved = parsed.success && RESERVED_ID_PARTS.some((part) => part === parsed.data.split('/')[0])
  if (parsed.success && !reserved) return parsed.data
  const detail = reserved
    ? `the first part of an id cannot be one of ${RESERVED_ID_PARTS.join(', ')}`
    : 'must be lower-case letters, digits and dashes, in one part or two: my-workflow or video/my-workflow'
  throw refusal('validation-failed', 'The id of the template is not valid.', '/id', detail, 'invalid-id')
}

function notAnObject(what: string): FabriqueError {
  const detail = `${what.toLowerCase()} is an object`
  return refusal('validation-failed', `${what} is an object.`, '', detail, 'not-an-object')
}

/** An error with one problem, which has the error's own code unless told otherwise. */
function refusal(
  code: 'validation-failed' | 'version-immutable',
  message: string,
  pointer: string,
  detail: string,
  problem: string = code,
): FabriqueError {
  return new FabriqueError(code, message, { problems: [{ pointer, detail, code: problem }] })
}

/** RFC 7396: objects merge, null removes, everything else replaces. */
export function mergePatch(target: JsonValue | undefined, patch: JsonValue): JsonValue {
  if (!isJsonObject(patch)) return patch
  const merged: JsonObject = isJsonObject(target) ? { ...target } : {}
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key]
    else merged[key] = mergePatch(Object.hasOwn(merged, key) ? merged[key] : undefined, value)
  }
  return merged
}
