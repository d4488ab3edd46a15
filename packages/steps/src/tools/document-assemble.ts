// `document.assemble`: the words and pictures of a run as one page of HTML, or as Markdown.
// Hides in how many shapes steps hand over sections, and how pictures get inside the page.
import { type StepContext, StepFailure, type Tool } from '@fabrique/engine'
import { isJsonObject, type JsonObject, type JsonValue } from '@fabrique/schema'
import { z } from 'zod'
import type { Document, Picture, Section } from '../document/document.ts'
import type { Writing, Written } from '../document/document-writer.ts'
import { safeUrl } from '../document/page.ts'
import { runInThread } from '../one-job-thread.ts'
import { pictureFacts, withPicture } from '../pictures.ts'
import { artifactIn, textIn } from './reference.ts'

/** Twice the widest column, for dense screens, within reason. */
const PICTURE_WIDTH_PX_MAX = 1_400
const PICTURE_HEIGHT_PX_MAX = 1_600

/** A long document takes a second; the rest is for the thread's start on a busy machine. */
const WRITE_LIMIT_MS = 15_000

const short = z.string().max(500).nullish()
const parallel = z.array(z.unknown()).max(60).nullish()

const Args = z.strictObject({
  format: z.enum(['html', 'markdown']),
  title: z.string().trim().min(1).max(300),
  subtitle: short,
  byline: short,
  /** A BCP 47 tag such as `en` or `pt-BR`. */
  language: z
    .string()
    .regex(/^[a-zA-Z]{2,3}(-[a-zA-Z0-9]{2,8})*$/, 'must be a language tag such as en')
    .nullish(),
  intro: z.string().max(20_000).nullish(),
  /** `{heading, body, image?, alt?, caption?}`, texts, or outputs of `llm` steps (`{json}` of that form, or `{text}`). */
  sections: z.array(z.unknown()).min(1).max(60),
  /** By position, for sections that do not bring their own; null leaves one out. */
  headings: parallel,
  images: parallel,
  captions: parallel,
  sources: z.array(z.unknown()).max(200).nullish(),
  theme: z.enum(['paper', 'slate', 'garden']).default('paper'),
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,63}$/)
    .default('document'),
})

/** `{artifact, words}`. A section without a body is left out; a page holds its pictures, and loads nothing. */
export const documentAssemble: Tool = {
  name: 'document.assemble',
  description: 'Makes one self-contained HTML page, or a Markdown file, of sections and pictures.',
  args: Args,
  outputKeys: ['artifact', 'words'],
  makes: ({ format }) => (format === 'html' || format === 'markdown' ? `text/${format}` : undefined),
  async run(args, context) {
    const given = args as z.infer<typeof Args>
    const { format, theme, name } = given
    const sections: Section[] = []
    for (const index of given.sections.keys()) {
      const section = await sectionAt(given, index, context)
      if (section !== null) sections.push(section)
    }
    if (sections.length === 0) throw new StepFailure('invalid', 'No section of the document has a body.')
    const parts: Omit<Document, 'words'> = {
      title: given.title,
      subtitle: textIn(given.subtitle),
      byline: textIn(given.byline),
      language: given.language ?? 'en',
      intro: textIn(given.intro),
      sections,
      sources: (given.sources ?? []).flatMap((source) => sourceOf(source as JsonValue)),
    }
    const writing: Writing = { format, theme, parts }
    const writer = new URL('../document/document-writer.ts', import.meta.url)
    const written = await runInThread<Written>(writer, writing, WRITE_LIMIT_MS)
    if (written === null) {
      const limit = `${WRITE_LIMIT_MS / 1000} s`
      throw new StepFailure('invalid', `The document could not be written within ${limit}; make it shorter or plainer.`)
    }
    const file = { mimeType: `text/${format}`, bytes: Buffer.from(written.text) }
    return { artifact: await context.store({ name, ...file }), words: written.words }
  },
}

async function sectionAt(given: z.infer<typeof Args>, index: number, context: StepContext): Promise<Section | null> {
  const entry = given.sections[index] as JsonValue
  // A structured answer stands in `json`; the `text` beside it is the same once more, as source.
  const own: JsonObject = isJsonObject(entry) ? (isJsonObject(entry.json) ? entry.json : entry) : {}
  const body = textIn(own, 'body', 'markdown', 'text') ?? textIn(entry)
  if (body === undefined) return null
  const beside = (list: readonly unknown[] | null | undefined) => (list?.[index] ?? undefined) as JsonValue | undefined
  const words = beside(given.captions)
  const image = artifactIn(own.image) ?? artifactIn(own.artifact) ?? artifactIn(beside(given.images))
  return {
    heading: textIn(own, 'heading', 'title') ?? textIn(beside(given.headings), 'heading', 'title'),
    body,
    picture: image === undefined || given.format === 'markdown' ? undefined : await embedded(image, index, context),
    alt: textIn(own, 'alt') ?? (isJsonObject(words) ? textIn(words, 'alt') : undefined),
    caption: textIn(own, 'caption') ?? textIn(words, 'caption'),
  }
}

async function embedded(image: JsonObject, index: number, context: StepContext): Promise<Picture> {
  const { bytes } = await context.open(image, `args.sections[${index}].image`)
  try {
    const { data, info } = await withPicture(bytes, await pictureFacts(bytes), (open) =>
      open()
        .resize(PICTURE_WIDTH_PX_MAX, PICTURE_HEIGHT_PX_MAX, { fit: 'inside', withoutEnlargement: true })
        .webp({ quality: 82 })
        .toBuffer({ resolveWithObject: true }),
    )
    return {
      dataUrl: `data:image/webp;base64,${data.toString('base64')}`,
      widthPx: info.width,
      heightPx: info.height,
    }
  } catch (error) {
    throw new StepFailure('invalid', `The picture of section ${index + 1} cannot be decoded.`, { cause: error })
  }
}

/** A source by its title; an address that no reader should follow is left out, its title stays. */
function sourceOf(source: JsonValue): Document['sources'] {
  const url = safeUrl(isJsonObject(source) ? (textIn(source, 'url') ?? '') : (textIn(source) ?? ''))
  const title = textIn(source, 'title', 'name') ?? url
  if (title === undefined) return []
  return [{ title: title === url ? new URL(url).hostname : title, url }]
}
