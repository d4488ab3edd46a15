// A document as parts, before it has a look: what both of its formats are made of.
// Hides nothing but the words for the furniture of a page.

export interface Picture {
  dataUrl: string
  widthPx: number
  heightPx: number
}

export interface Section {
  heading: string | undefined
  /** Markdown. */
  body: string
  picture: Picture | undefined
  alt: string | undefined
  caption: string | undefined
}

export interface Document {
  title: string
  subtitle: string | undefined
  byline: string | undefined
  language: string
  intro: string | undefined
  sections: Section[]
  sources: { title: string; url: string | undefined }[]
  words: number
}

interface Labels {
  contents: string
  sources: string
  minutes: (count: number) => string
}

const ENGLISH: Labels = { contents: 'Contents', sources: 'Sources', minutes: (count) => `${count} min read` }

const LABELS: Readonly<Record<string, Labels>> = {
  en: ENGLISH,
  de: { contents: 'Inhalt', sources: 'Quellen', minutes: (count) => `${count} Min. Lesezeit` },
  es: { contents: 'Índice', sources: 'Fuentes', minutes: (count) => `${count} min de lectura` },
  fr: { contents: 'Sommaire', sources: 'Sources', minutes: (count) => `${count} min de lecture` },
  it: { contents: 'Indice', sources: 'Fonti', minutes: (count) => `${count} min di lettura` },
  pl: { contents: 'Spis treści', sources: 'Źródła', minutes: (count) => `${count} min czytania` },
  pt: { contents: 'Índice', sources: 'Fontes', minutes: (count) => `${count} min de leitura` },
}

/** The page's own words in its language; English where we have none. */
export function labelsOf(language: string): Labels {
  return LABELS[language.split('-')[0]?.toLowerCase() ?? ''] ?? ENGLISH
}

/** Words of a text as its language divides them: by spaces in most, by sense in those without spaces. */
export function countWords(text: string, language: string): number {
  let words = 0
  for (const { isWordLike } of new Intl.Segmenter(language, { granularity: 'word' }).segment(text)) {
    if (isWordLike) words += 1
  }
  return words
}
