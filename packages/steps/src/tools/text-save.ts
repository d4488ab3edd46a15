// `text.save`: words or data of a run as a file.
// Hides how lists and records read in Markdown and plain text.
import { StepFailure, type Tool } from '@fabrique/engine'
import { isJsonObject, type JsonValue, textOf } from '@fabrique/schema'
import { z } from 'zod'

const MIME_TYPES = { txt: 'text/plain', md: 'text/markdown', json: 'application/json' } as const

const Args = z.strictObject({
  text: z.string().nullish(),
  /** Anything else: JSON as it is, or a list that reads as a list. */
  value: z.unknown().optional(),
  format: z.enum(['txt', 'md', 'json']),
  /** The heading of a Markdown or plain text file. */
  title: z.string().max(300).nullish(),
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,63}$/)
    .default('text'),
})

/** `{artifact}`: `text` as it is, or `value` written out; one of the two. Text saved as JSON must be JSON. */
export const textSave: Tool = {
  name: 'text.save',
  description: 'Saves text or data as a text, Markdown or JSON file.',
  args: Args,
  outputKeys: ['artifact'],
  // Its plain text may be any kind of text that is promised.
  makes: ({ format }) => (format === 'md' || format === 'json' ? MIME_TYPES[format] : 'text/*'),
  async run(args, context) {
    const { text, value, format, title, name } = args as z.infer<typeof Args>
    if ((text ?? null) === null && (value ?? null) === null) {
      throw new StepFailure('invalid', 'text.save needs "text" or "value".')
    }
    const content = text ?? value
    const written = format === 'json' ? jsonOf(text, value as JsonValue) : prose(content as JsonValue, format, title)
    const bytes = Buffer.from(`${written.trimEnd()}\n`)
    return { artifact: await context.store({ name, mimeType: MIME_TYPES[format], bytes }) }
  },
}

function jsonOf(text: string | null | undefined, value: JsonValue): string {
  if (typeof text !== 'string') return JSON.stringify(value, null, 2)
  try {
    return JSON.stringify(JSON.parse(text), null, 2)
  } catch (error) {
    throw new StepFailure('invalid', 'text.save cannot save this text as JSON: it is not JSON.', { cause: error })
  }
}

function prose(content: JsonValue, format: 'txt' | 'md', title: string | null | undefined): string {
  const heading = (title ?? '').trim()
  const head = heading === '' ? [] : format === 'md' ? [`# ${heading}`, ''] : [heading, '']
  return [...head, ...lines(content, format === 'md', '')].join('\n')
}

/** A list as numbered lines; a record's first text stands for it, and its other members follow below. */
function lines(value: JsonValue, isMarkdown: boolean, indent: string): string[] {
  if (Array.isArray(value)) {
    return value.flatMap((item, index) => {
      const number = `${index + 1}. `
      const [first = '', ...rest] = lines(item, isMarkdown, '')
      const deeper = ' '.repeat(number.length)
      return [`${indent}${number}${first}`, ...rest.map((line) => `${indent}${deeper}${line}`)]
    })
  }
  if (!isJsonObject(value))
    return textOf(value)
      .split(/\r?\n/)
      .map((line) => indent + line)
  const members = Object.entries(value).filter(([, member]) => member !== null && member !== '')
  const lead = members.find(([, member]) => typeof member === 'string' && !member.includes('\n'))
  const [leadKey, leadText] = lead ?? []
  const others = members.filter(([key]) => key !== leadKey)
  const shown = textOf(leadText)
  return [
    ...(lead === undefined ? [] : [indent + (isMarkdown && others.length > 0 ? `**${shown}**` : shown)]),
    ...others.flatMap(([key, member]) => {
      const label = `${indent}${isMarkdown ? '- ' : ''}${key.replaceAll('_', ' ')}:`
      const isSimple = typeof member !== 'object' && !textOf(member).includes('\n')
      return isSimple ? [`${label} ${textOf(member)}`] : [label, ...lines(member, isMarkdown, `${indent}  `)]
    }),
  ]
}
