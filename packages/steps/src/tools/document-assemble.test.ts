import { createHash } from 'node:crypto'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { JsonObject } from '@fabrique/schema'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { createToolBench } from '../testing/tool-bench.ts'
import { documentAssemble } from './document-assemble.ts'

async function setup() {
  const bench = createToolBench()
  const paint = async (width: number, height: number) =>
    await bench.put(
      await sharp({ create: { width, height, channels: 3, background: '#2040d0' } })
        .png()
        .toBuffer(),
      'image/png',
    )
  const assemble = async (args: JsonObject) => {
    const { artifact, words } = await bench.run(documentAssemble, { format: 'html', title: 'A title', ...args })
    return { text: Buffer.from(bench.fileOf(artifact).bytes).toString(), words, record: bench.fileOf(artifact).record }
  }
  return { paint, assemble }
}

const VOID = new Set(['meta', 'img', 'br', 'hr', '!doctype'])

/** The elements of a page in order; throws where a tag is not closed by its own. */
function elementsOf(html: string): { tag: string; attributes: string }[] {
  const open: string[] = []
  const found: { tag: string; attributes: string }[] = []
  for (const [, closing, name = '', attributes = ''] of html.matchAll(
    /<(\/?)([!a-z][a-z0-9]*)((?:"[^"]*"|[^>"])*)>/gi,
  )) {
    const tag = name.toLowerCase()
    if (closing === '/') {
      const last = open.pop()
      if (last !== tag) throw new Error(`</${tag}> closes <${last}>`)
      continue
    }
    found.push({ tag, attributes })
    if (!VOID.has(tag)) open.push(tag)
  }
  if (open.length > 0) throw new Error(`left open: ${open.join(', ')}`)
  return found
}

describe('document.assemble to HTML', () => {
  it('is one well-formed page that embeds its pictures and loads nothing', async () => {
    const { assemble, paint } = await setup()
    const { text, record } = await assemble({
      sections: [
        { heading: 'One', body: 'Words.', image: await paint(3000, 1500), caption: 'A blue field', alt: 'Blue' },
        { heading: 'Two', body: '| a | b |\n|---|--:|\n| 1 | 2 |' },
      ],
    })
    expect(record.mimeType).toBe('text/html')
    const elements = elementsOf(text)
    expect(elements.filter(({ tag }) => ['script', 'link', 'iframe', 'object', 'base', 'form'].includes(tag))).toEqual(
      [],
    )
    const [image] = elements.filter(({ tag }) => tag === 'img')
    const data = /src="data:image\/webp;base64,([^"]+)"/.exec(image?.attributes ?? '')?.[1] ?? ''
    expect(await sharp(Buffer.from(data, 'base64')).metadata()).toMatchObject({
      format: 'webp',
      width: 1400,
      height: 700,
    })
    expect(image?.attributes).toContain('alt="Blue"')
    expect(text).toContain('<figcaption>A blue field</figcaption>')
    expect(text.replace(/base64,[^"]+/g, '')).not.toMatch(/(src|href|url\()=?["']?(https?:)?\/\//)
    expect(elements.filter(({ attributes }) => /\s(style|on\w+)=/.test(attributes))).toEqual([])
  })

  it('carries a policy that allows its own style by hash, and nothing else', async () => {
    const { assemble } = await setup()
    const { text } = await assemble({ sections: [{ body: 'Words.' }] })
    const style = /<style>([\s\S]*?)<\/style>/.exec(text)?.[1] ?? ''
    const policy = /Content-Security-Policy" content="([^"]*)"/.exec(text)?.[1]?.replaceAll('&#39;', "'") ?? ''
    const hash = createHash('sha256').update(style).digest('base64')
    expect(policy.split('; ')).toEqual([
      "default-src 'none'",
      'img-src data:',
      `style-src 'sha256-${hash}'`,
      "base-uri 'none'",
      "form-action 'none'",
    ])
  })

  it('shows hostile words as words, wherever they stand', async () => {
    const { assemble, paint } = await setup()
    const bad = '</style><script>alert(1)</script>"><img src=x onerror=alert(1)>'
    const { text } = await assemble({
      title: bad,
      subtitle: bad,
      byline: bad,
      intro: bad,
      sections: [
        {
          heading: bad,
          body: `${bad}\n\n[x](javascript:alert(1)) ![p](https://a.example/p.png)`,
          caption: bad,
          alt: bad,
        },
      ],
      images: [await paint(40, 40)],
      sources: [bad, { title: bad, url: 'javascript:alert(1)' }, { title: 'b', url: 'data:text/html,x' }],
    })
    const elements = elementsOf(text)
    expect(elements.filter(({ tag }) => tag === 'script')).toEqual([])
    expect(elements.filter(({ tag }) => tag === 'img')).toHaveLength(1)
    expect(elements.filter(({ attributes }) => /href="(?!#)/.test(attributes))).toEqual([])
    expect(text.match(/<\/style>/g)).toHaveLength(1)
  })

  it('follows links to http, https and mailto only', async () => {
    const { assemble } = await setup()
    const body = '[a](https://a.example/) [m](mailto:a@b.example) [r](/etc/passwd) [v](vbscript:x) <ftp://c.example>'
    const { text } = await assemble({ sections: [{ body }], sources: ['https://s.example/x'] })
    const addresses = [...text.matchAll(/href="([^"]+)"/g)].map(([, address]) => address)
    expect(addresses).toEqual(['https://a.example/', 'mailto:a@b.example', 'https://s.example/x'])
  })

  it('takes sections in every shape that steps make, and leaves out those without a body', async () => {
    const { assemble, paint } = await setup()
    const { text } = await assemble({
      headings: [null, null, { heading: 'Third' }, null, null],
      sections: [
        { heading: 'First', body: 'one' },
        { text: '{"body":"two"}', json: { heading: 'Second', body: 'two', image: null }, usage: {} },
        { text: 'three' },
        { heading: 'Empty' },
        { heading: 'Fifth', body: '## Fifth\n\nfive' },
        null,
      ],
      images: [{ artifact: await paint(40, 40) }, null, await paint(40, 40)],
      captions: ['Words', null, { caption: 'More', alt: 'Seen' }],
    })
    expect([...text.matchAll(/<h2>([^<]+)<\/h2>/g)].map(([, heading]) => heading)).toEqual([
      'Contents',
      'First',
      'Second',
      'Third',
      'Fifth',
    ])
    expect(text.match(/Fifth/g)).toHaveLength(2)
    expect(text.match(/<figure/g)).toHaveLength(2)
    expect(text).toContain('alt="Seen"')
    expect(text).not.toContain('{&quot;body')
  })

  it('has a list of contents from four sections on, and says how long it takes to read', async () => {
    const { assemble } = await setup()
    const sections = (count: number) =>
      Array.from({ length: count }, (_, i) => ({ heading: `Part ${i}`, body: 'word '.repeat(220) }))
    const { text: short } = await assemble({ sections: sections(3) })
    const { text: long, words } = await assemble({ sections: sections(4), language: 'de' })
    expect(short).not.toContain('<nav')
    expect(long.match(/<li><a href="#section-\d">/g)).toHaveLength(4)
    expect(long).toContain('Inhalt')
    expect(long).toContain('4 Min. Lesezeit')
    expect(words).toBe(2 + 4 * 222)
  })

  it('refuses a document without any body', async () => {
    const { assemble } = await setup()
    await expect(assemble({ sections: [{ heading: 'Only' }, null] })).rejects.toMatchObject({ failureClass: 'invalid' })
  })
})

describe('document.assemble of hostile Markdown', () => {
  it.each([
    ['a heading of 65,000 marks', `# ${'#'.repeat(65_000)}`],
    ['a heading of marks and spaces before its text', `# ${'# '.repeat(32_000)}x\n`],
    ['brackets that never close', '['.repeat(50_000)],
    ['emphasis that never closes', '*a **b '.repeat(9_000)],
    ['angles that never close', '<a href="'.repeat(7_000)],
    ['quotes within quotes', `${'>'.repeat(5_000)} a`],
  ])(
    'leaves the event loop to others: %s',
    async (_, body) => {
      const { assemble } = await setup()
      const delay = monitorEventLoopDelay({ resolution: 10 })
      delay.enable()
      const sections = Array.from({ length: 6 }, () => ({ heading: 'A heading', body }))
      const outcome = await assemble({ sections }).catch((error: unknown) => error)
      delay.disable()

      expect(delay.max / 1e6).toBeLessThan(1_000)
      if (outcome instanceof Error) expect(outcome.message).toContain('could not be written within')
    },
    60_000,
  )
})

describe('document.assemble to Markdown', () => {
  it('is clean Markdown with captions in the place of pictures', async () => {
    const { assemble, paint } = await setup()
    const { text, record, words } = await assemble({
      format: 'markdown',
      subtitle: 'What it is about',
      sections: [{ heading: 'A *star*', body: 'Some **words**.', image: await paint(40, 40), caption: 'A field' }],
      sources: [{ title: 'A book', url: 'https://a.example/' }, 'Another book'],
    })
    expect(record.mimeType).toBe('text/markdown')
    expect(text).toBe(
      '# A title\n\n*What it is about*\n\n## A \\*star\\*\n\nSome **words**.\n\n*A field*\n\n' +
        '## Sources\n\n1. A book <https://a.example/>\n2. Another book\n',
    )
    expect(words).toBe(12)
  })
})
