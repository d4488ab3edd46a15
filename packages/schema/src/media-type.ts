// Media types as they are compared: one spelling for each kind of file.
// Hides parameters, case, and the names that servers and authors use beside the registered ones.

const ALIASES: Readonly<Record<string, string>> = {
  'image/jpg': 'image/jpeg',
  'image/pjpeg': 'image/jpeg',
  'image/x-png': 'image/png',
  'image/apng': 'image/png',
  'audio/mp3': 'audio/mpeg',
  'audio/wave': 'audio/wav',
  'audio/x-wav': 'audio/wav',
  'audio/vnd.wave': 'audio/wav',
  'audio/opus': 'audio/ogg',
  'application/ogg': 'audio/ogg',
  'audio/m4a': 'audio/mp4',
  'audio/x-m4a': 'audio/mp4',
  'audio/x-flac': 'audio/flac',
  'audio/aacp': 'audio/aac',
  'audio/x-aac': 'audio/aac',
  'video/x-m4v': 'video/mp4',
  'text/x-markdown': 'text/markdown',
  'text/json': 'application/json',
}

const TYPE = /^[a-z0-9!#$&^_.+*-]{1,100}\/[a-z0-9!#$&^_.+*-]{1,100}$/
const ANY_BYTES = 'application/octet-stream'

/**
 * The registered name of a media type, without parameters: `image/jpeg` for `Image/JPG; q=1`. What is no media type, and
 * would end a header, is bytes of no known type; nothing stays nothing.
 */
export function canonicalType(header: string): string {
  const type = (header.split(';')[0] ?? '').trim().toLowerCase()
  if (type !== '' && !TYPE.test(type)) return ANY_BYTES
  return Object.hasOwn(ALIASES, type) ? (ALIASES[type] ?? type) : type
}
