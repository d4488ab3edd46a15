// File name endings of the media types that artifacts have.

const MEDIA_TYPES: Record<string, string> = {
  png: 'image/png',
  webp: 'image/webp',
  jpg: 'image/jpeg',
  avif: 'image/avif',
  gif: 'image/gif',
  wav: 'audio/wav',
  mp3: 'audio/mpeg',
  ogg: 'audio/ogg',
  m4a: 'audio/mp4',
  flac: 'audio/flac',
  aac: 'audio/aac',
  weba: 'audio/webm',
  mp4: 'video/mp4',
  webm: 'video/webm',
  mov: 'video/quicktime',
  html: 'text/html',
  md: 'text/markdown',
  txt: 'text/plain',
  json: 'application/json',
}
const EXTENSIONS = new Map(Object.entries(MEDIA_TYPES).map(([extension, mimeType]) => [mimeType, extension]))
/** Only read: what is made has other names, or is of no such type. */
const ALSO_READ: Record<string, string> = {
  ...MEDIA_TYPES,
  jpeg: 'image/jpeg',
  csv: 'text/csv',
  pdf: 'application/pdf',
}

/** The usual ending for a media type, without the dot; `bin` for one that is not known. */
export function extensionOf(mimeType: string): string {
  return EXTENSIONS.get(mimeType) ?? 'bin'
}

/** The media type for a file name's ending, with or without its dot. */
export function mediaTypeOf(extension: string): string {
  return ALSO_READ[extension.replace('.', '').toLowerCase()] ?? 'application/octet-stream'
}
