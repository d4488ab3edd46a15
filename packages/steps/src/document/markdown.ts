// A document as plain Markdown: its words, in a form that reads well anywhere.
// Hides what has to be escaped in a line that is not meant as Markdown.
import { type Document, labelsOf } from './document.ts'

/** The document as Markdown without front matter; a picture is left out, its caption stays. */
export function markdownOf({ title, subtitle, byline, language, intro, sections, sources }: Document): string {
  const blocks = [
    `# ${line(title)}`,
    subtitle === undefined ? '' : `*${line(subtitle)}*`,
    byline === undefined ? '' : line(byline),
    intro ?? '',
    ...sections.flatMap(({ heading, body, caption }) => [
      heading === undefined ? '' : `## ${line(heading)}`,
      body,
      caption === undefined ? '' : `*${line(caption)}*`,
    ]),
    ...(sources.length === 0 ? [] : [`## ${labelsOf(language).sources}`]),
    sources
      .map(
        (source, index) => `${index + 1}. ${line(source.title)}${source.url === undefined ? '' : ` <${source.url}>`}`,
      )
      .join('\n'),
  ]
  return `${blocks.filter((block) => block.trim() !== '').join('\n\n')}\n`
}

/** One line of plain words: what Markdown would take for markup is escaped. */
function line(text: string): string {
  return text.replace(/\s+/g, ' ').replace(/[\\`*_[\]<>]/g, '\\$&')
}
