// Runs inside a thread: one document, answered by its text and how many words it has.
import { parentPort, workerData } from 'node:worker_threads'
import type { Document } from './document.ts'
import { markdownOf } from './markdown.ts'
import { pageOf, wordsOf } from './page.ts'
import type { Theme } from './page-style.ts'

/** What is to be written. */
export interface Writing {
  format: 'html' | 'markdown'
  theme: Theme
  parts: Omit<Document, 'words'>
}

export interface Written {
  text: string
  words: number
}

const { format, theme, parts } = workerData as Writing
const document: Document = { ...parts, words: wordsOf(parts) }
const text = format === 'html' ? pageOf(document, theme) : markdownOf(document)
parentPort?.postMessage({ text, words: document.words } satisfies Written)
