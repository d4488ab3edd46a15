// The formats of texts: examples of each, and whether a text is of one.
// Hides the grammars; a format without one here takes any text.
import { z } from 'zod'

interface Format {
  /** `nth` makes the examples of a list differ. */
  example(nth: number): string
  /** For lengths that leave no room for the example. */
  shortest?: string
  grammar?: z.ZodType
}

/** One transparent pixel: an input of format `file` is inline data wherever the spec may go. */
const PIXEL =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=='
/** The head of a `data:` URI (RFC 2397); nothing of what follows is looked at. */
const DATA_URI = /^data:[a-z0-9.+-]{1,64}\/[a-z0-9.+-]{1,64}(?:;[a-z0-9.="_-]{1,64}){0,4},/i
const TIME = /^(?:[01]\d|2[0-3])(?::[0-5]\d){2}(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/
const day = (nth: number) => `2026-01-${String((nth % 28) + 1).padStart(2, '0')}`
const page = (nth: number) => `https://example.com/${nth || ''}`

const FORMATS = new Map<string, Format>(
  Object.entries({
    date: { example: day, grammar: z.iso.date() },
    'date-time': { example: (nth) => `${day(nth)}T12:00:00Z`, grammar: z.iso.datetime({ offset: true }) },
    time: { example: (nth) => `12:${String(nth % 60).padStart(2, '0')}:00Z`, grammar: z.string().regex(TIME) },
    duration: { example: (nth) => `PT${nth + 1}M`, grammar: z.iso.duration() },
    email: { example: (nth) => `person${nth || ''}@example.com`, shortest: 'a@b.co', grammar: z.email() },
    hostname: { example: (nth) => `www${nth || ''}.example.com`, shortest: 'a.co', grammar: z.hostname() },
    ipv4: { example: (nth) => `192.0.2.${(nth % 254) + 1}`, grammar: z.ipv4() },
    ipv6: { example: (nth) => `2001:db8::${((nth % 254) + 1).toString(16)}`, grammar: z.ipv6() },
    uri: { example: page, shortest: 'http://a.b', grammar: z.url() },
    url: { example: page, shortest: 'http://a.b', grammar: z.httpUrl() },
    'uri-reference': { example: (nth) => `/${nth || ''}` },
    'uri-template': { example: (nth) => `https://example.com/{id}${nth || ''}` },
    uuid: { example: (nth) => `00000000-0000-4000-8000-${String(nth).padStart(12, '0')}`, grammar: z.uuid() },
    'json-pointer': { example: (nth) => `/${nth}` },
    'relative-json-pointer': { example: String },
    regex: { example: (nth) => 'a'.repeat(nth + 1) },
    byte: { example: () => 'ZXhhbXBsZQ==' },
    file: { example: () => PIXEL, grammar: z.string().regex(DATA_URI) },
  } satisfies Record<string, Format>),
)

/** Texts of the format, the best first; none for one that is not known. */
export function examplesOf(format: string, nth: number): string[] {
  const known = FORMATS.get(format)
  return known === undefined ? [] : [known.example(nth), ...(known.shortest === undefined ? [] : [known.shortest])]
}

/** Whether the text is of the format, as far as there is a grammar of it. */
export function isOfFormat(text: string, format: unknown): boolean {
  return (typeof format === 'string' ? FORMATS.get(format)?.grammar?.safeParse(text).success : undefined) ?? true
}
