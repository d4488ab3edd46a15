// One artifact, as large as there is room: pictures on a checkerboard, sound and film played, text as text.
// Hides what each media type needs; nothing of an artifact is ever run as a page of ours.
import type { Artifact, JsonObject } from '@fabrique/schema'
import { useQuery } from '@tanstack/react-query'
import { Download, FileQuestion } from 'lucide-react'
import { useState } from 'react'
import { ApiError, contentUrl } from '../api/http.ts'
import { bytes } from '../words.ts'
import { buttonClass, Empty, Failure, Loading } from '../ui/parts.tsx'

const GROUNDS = ['checkerboard', 'bg-white', 'bg-black'] as const
export type Ground = (typeof GROUNDS)[number]
/** The ground after this one. */
export const nextGround = (ground: Ground): Ground =>
  GROUNDS[(GROUNDS.indexOf(ground) + 1) % GROUNDS.length] ?? 'checkerboard'

const TEXT = /^(text\/|application\/(json|yaml|x-subrip))/
const TEXT_BYTES_MAX = 262_144

/** The picture that the run was given, where it was given one. */
export function pictureIn(input: JsonObject): string | undefined {
  for (const value of Object.values(input)) {
    if (typeof value !== 'string') continue
    if (/^data:image\/(png|webp|jpeg|gif|avif);/.test(value)) return value
    if (/^art_[0-9A-Z]+$/.test(value)) return contentUrl(value)
  }
  return undefined
}

interface Shown {
  artifact: Artifact
  before?: string | undefined
  isZoomed: boolean
  ground: Ground
}

export function Stage({ artifact, before, isZoomed, ground }: Shown) {
  const { mime_type: type } = artifact
  const url = contentUrl(artifact.id)
  if (type.startsWith('image/') && type !== 'image/svg+xml')
    return <Picture artifact={artifact} before={before} isZoomed={isZoomed} ground={ground} />
  if (type.startsWith('video/'))
    return (
      <div className="flex h-full items-center justify-center bg-black">
        <video key={url} src={url} controls playsInline className="max-h-full max-w-full" />
      </div>
    )
  if (type.startsWith('audio/'))
    return (
      <div className="grid h-full place-items-center p-6">
        <audio key={url} src={url} controls className="w-full max-w-lg" />
      </div>
    )
  if (TEXT.test(type) && artifact.bytes <= TEXT_BYTES_MAX) return <TextOf artifact={artifact} />
  return (
    <Empty
      icon={FileQuestion}
      title={`A file of ${bytes(artifact.bytes)}`}
      action={
        <a href={url} download className={buttonClass()}>
          <Download aria-hidden className="size-4" />
          Download
        </a>
      }
    >
      {type} is not shown here. Download it to look at it.
    </Empty>
  )
}

function Picture({ artifact, before, isZoomed, ground }: Shown) {
  const [part, setPart] = useState(50)
  const size = isZoomed ? 'max-w-none' : 'max-h-full max-w-full object-contain'
  const alt = `${artifact.role} of ${artifact.workflow}`
  if (before === undefined || isZoomed)
    return (
      <div
        tabIndex={isZoomed ? 0 : undefined}
        aria-label={isZoomed ? 'The picture in its own size' : undefined}
        role={isZoomed ? 'group' : undefined}
        className={`h-full ${ground} ${isZoomed ? 'overflow-auto' : 'flex items-center justify-center overflow-hidden p-4'}`}
      >
        <img src={contentUrl(artifact.id)} alt={alt} className={size} />
      </div>
    )
  return (
    <div className={`relative h-full ${ground}`}>
      <div className="absolute inset-0 grid place-items-center p-4">
        <img src={contentUrl(artifact.id)} alt={alt} className="h-full w-full object-contain" />
      </div>
      <div
        className="absolute inset-0 grid place-items-center bg-panel p-4"
        style={{ clipPath: `inset(0 ${100 - part}% 0 0)` }}
      >
        <img src={before} alt="What the run was given" className="h-full w-full object-contain" />
      </div>
      <div aria-hidden className="absolute inset-y-0 w-0.5 bg-accent-fill" style={{ left: `${part}%` }} />
      <input
        type="range"
        aria-label="Before and after"
        min={0}
        max={100}
        value={part}
        onChange={({ target }) => setPart(Number(target.value))}
        className="absolute inset-x-4 bottom-3 accent-[var(--accent-fill)]"
      />
    </div>
  )
}

function TextOf({ artifact }: { artifact: Artifact }) {
  const { data, error, refetch } = useQuery({
    queryKey: ['text', artifact.id],
    staleTime: Infinity,
    async queryFn({ signal }) {
      const answer = await fetch(contentUrl(artifact.id), { signal })
      if (!answer.ok) throw new ApiError(answer.status, null, 'The file cannot be read at the moment.')
      return await answer.text()
    },
  })
  if (error !== null) return <Failure error={error} retry={() => void refetch()} />
  if (data === undefined) return <Loading rows={1} className="h-full" />
  const isProse = artifact.mime_type !== 'application/json' && artifact.mime_type !== 'text/html'
  return (
    <div tabIndex={0} role="group" aria-label="The text" className="h-full overflow-auto bg-panel p-6">
      <pre
        className={`mx-auto max-w-[70ch] whitespace-pre-wrap break-words ${isProse ? 'font-sans text-lg' : 'font-mono text-sm'}`}
      >
        {data}
      </pre>
    </div>
  )
}
