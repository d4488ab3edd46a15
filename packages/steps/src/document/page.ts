// A document as one page of HTML that needs nothing else: no script, no font, no address is ever loaded.
// Hides the rendering of Markdown, the look, and the policy that makes a browser hold us to it.
import { createHash } from 'node:crypto'
import MarkdownIt, { type MarkdownIt as Renderer } from 'markdown-it'
import { countWords, type Document, labelsOf, type Section } from './document.ts'
import { PAGE_STYLE, THEMES, type Theme } from './page-style.ts'

/** Adults read about this many words of prose a minute. */
const WORDS_PER_MINUTE = 220

/** Fewer sections need no list of contents. */
const CONTENTS_FROM = 4

const QUOTES: Readonly<Record<string, string>> = {
  en: '“”‘’',
  de: '„“‚‘',
  pl: '„”‚’',
  fr: '«»‹›',
  it: '«»“”',
  es: '«»“”',
}

/** The document as a whole page; everything in it is escaped, and links go to http, https and mailto only. */
export function pageOf(document: Document, theme: Theme): string {
  const { title, subtitle, byline, language, intro, sections, sources, words } = document
  const labels = labelsOf(language)
  const markdown = createRenderer(language)
  const style = THEMES[theme] + PAGE_STYLE
  const policy = [
    "default-src 'none'",
    'img-src data:',
    `style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ')
  const listed = sections.flatMap(({ heading }, index) => (heading === undefined ? [] : [{ heading, index }]))
  const minutes = Math.max(1, Math.round(words / WORDS_PER_MINUTE))
  return [
    `<!doctype html>\n<html lang="${escape(language)}" dir="${direction(language)}">\n<head>\n<meta charset="utf-8">`,
    `<meta http-equiv="Content-Security-Policy" content="${escape(policy)}">`,
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">',
    subtitle === undefined ? '' : `<meta name="description" content="${escape(subtitle)}">`,
    `<title>${escape(title)}</title>`,
    `<style>${style}</style>\n</head>\n<body>\n<article>\n<header>`,
    `<h1>${escape(title)}</h1>`,
    subtitle === undefined ? '' : `<p class="subtitle">${escape(subtitle)}</p>`,
    `<p class="meta">${[byline, labels.minutes(minutes)].flatMap((part) => (part ? [`<span>${escape(part)}</span>`] : [])).join('')}</p>`,
    '</header>',
    intro === undefined ? '' : `<div class="intro">${markdown.render(intro)}</div>`,
    listed.length < CONTENTS_FROM
      ? ''
      : `<nav aria-label="${escape(labels.contents)}">\n<h2>${escape(labels.contents)}</h2>\n<ol>${listed
          .map(({ heading, index }) => `<li><a href="#section-${index + 1}">${escape(heading)}</a></li>`)
          .join('')}</ol>\n</nav>`,
    ...sections.map((section, index) => sectionOf(section, index, markdown)),
    sources.length === 0
      ? ''
      : `<footer>\n<h2>${escape(labels.sources)}</h2>\n<ol>${sources
          .map((source) => `<li>${escape(source.title)}${source.url === undefined ? '' : ` ${link(source.url)}`}</li>`)
          .join('')}</ol>\n</footer>`,
    '</article>\n</body>\n</html>\n',
  ]
    .filter((part) => part !== '')
    .join('\n')
}

function sectionOf({ heading, body, picture, alt, caption }: Section, index: number, markdown: Renderer): string {
  const ratio = picture === undefined ? 1 : picture.widthPx / picture.heightPx
  // Square pictures keep to the column of the text: wider, they would fill a whole screen.
  const shape = ratio > 1.2 ? ' class="wide"' : ratio < 0.9 ? ' class="tall"' : ''
  const figure =
    picture === undefined
      ? ''
      : `<figure${shape}>\n<img src="${picture.dataUrl}" width="${picture.widthPx}" height="${picture.heightPx}" ` +
        `alt="${escape(alt ?? caption ?? heading ?? '')}" decoding="async">` +
        `${caption === undefined ? '' : `\n<figcaption>${escape(caption)}</figcaption>`}\n</figure>`
  return [
    `<section id="section-${index + 1}">`,
    heading === undefined ? '' : `<h2>${escape(heading)}</h2>`,
    figure,
    markdown.render(withoutRepeatedHeading(body, heading)),
    '</section>',
  ]
    .filter((part) => part !== '')
    .join('\n')
}

/** Writers often begin a section with its own heading. */
function withoutRepeatedHeading(body: string, heading: string | undefined): string {
  const [first = '', ...rest] = body.trimStart().split('\n')
  const [, own] = /^#{1,6}[ \t](.*)$/.exec(first.trimEnd()) ?? []
  const isRepeated =
    own
      ?.replace(/(?<![ \t#])[ \t#]+$/, '')
      .trim()
      .toLowerCase() === heading?.trim().toLowerCase()
  return own !== undefined && rest.length > 0 && isRepeated ? rest.join('\n') : body
}

/** Markdown to HTML without raw HTML and without pictures: a picture in Markdown is an address that would be loaded. */
function createRenderer(language: string): Renderer {
  const quotes = QUOTES[language.split('-')[0]?.toLowerCase() ?? '']
  const markdown = new MarkdownIt({
    html: false,
    linkify: false,
    typographer: quotes !== undefined,
    ...(quotes === undefined ? {} : { quotes }),
  })
  markdown.validateLink = (url) => safeUrl(url) !== undefined
  markdown.renderer.rules.image = (tokens, index) => escape(tokens[index]?.content ?? '')
  markdown.core.ruler.push('house', ({ tokens }) => {
    for (const token of tokens) {
      // The page has the first level, its sections the second: whatever a writer nests below starts at the third.
      if (/^h[1-6]$/.test(token.tag)) token.tag = `h${Math.max(3, Number(token.tag[1]))}`
      // A table's alignment comes as a style attribute, which the page's policy forbids.
      const aligned = /^text-align:(\w+)$/.exec(String(token.attrGet('style') ?? ''))?.[1]
      if (aligned !== undefined) token.attrs = [['class', aligned]]
      for (const child of token.children ?? []) {
        if (child.type === 'link_open') child.attrSet('rel', 'noopener noreferrer')
      }
    }
  })
  return markdown
}

/** The address as a browser would read it, if it is one that a reader may follow. */
export function safeUrl(url: string): string | undefined {
  const parsed = URL.canParse(url) ? new URL(url) : null
  return parsed !== null && /^(https?|mailto):$/.test(parsed.protocol) ? parsed.href : undefined
}

function link(url: string): string {
  return `<a href="${escape(url)}" rel="noopener noreferrer">${escape(url.replace(/^https?:\/\//, '').replace(/\/$/, ''))}</a>`
}

function direction(language: string): 'ltr' | 'rtl' {
  return /^(ar|dv|fa|he|ps|ur|yi)(-|$)/i.test(language) ? 'rtl' : 'ltr'
}

function escape(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;')
}

/** Words a reader reads, of everything on the page but its furniture. */
export function wordsOf({ title, subtitle, intro, sections, language }: Omit<Document, 'words'>): number {
  const markdown = createRenderer(language)
  const plain = (body: string) =>
    markdown
      .render(body)
      .replace(/<[^<>]*>/g, ' ')
      .replace(/&\w+;/g, ' ')
  const texts = sections.flatMap(({ heading, body, caption }) => [heading, plain(body), caption])
  return countWords(
    [title, subtitle, intro === undefined ? undefined : plain(intro), ...texts].filter(Boolean).join('\n'),
    language,
  )
}
