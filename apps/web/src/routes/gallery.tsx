// What was made, as pictures: filtered by the address, opened large, downloaded, and made again.
import type { Artifact } from '@fabrique/schema'
import { useQuery } from '@tanstack/react-query'
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router'
import { Download, FileText, Images, Play } from 'lucide-react'
import { contentUrl, thumbnailUrl } from '../api/http.ts'
import { artifactsQuery } from '../api/queries.ts'
import {
  Badge,
  buttonClass,
  Dialog,
  Empty,
  Failure,
  Loading,
  PageHead,
  SimulatedBadge,
  tabClass,
  WorkflowSelect,
} from '../ui/parts.tsx'
import { useKeys } from '../ui/keys.ts'
import { Stage } from '../review/stage.tsx'
import { ago, bytes, titleOf } from '../words.ts'

const route = getRouteApi('/signed-in/gallery')
const STATUSES = [
  { status: undefined, word: 'Finished' },
  { status: 'review', word: 'In review' },
  { status: 'rejected', word: 'Rejected' },
] as const

export function Gallery() {
  const search = route.useSearch()
  const navigate = useNavigate()
  const { data, error, refetch } = useQuery(artifactsQuery())
  const workflows = [...new Set(data?.map(({ workflow }) => workflow))].toSorted()
  const shown = (data ?? []).filter(
    ({ status, workflow }) =>
      (search.status === undefined ? status === 'approved' : status === search.status) &&
      (search.workflow === undefined || workflow === search.workflow),
  )
  const index = shown.findIndex(({ id }) => id === search.at)
  const open = shown[index]
  const show = (artifact: Artifact | undefined) =>
    void navigate({ to: '/gallery', search: { ...search, at: artifact?.id }, replace: open !== undefined })
  useKeys('Gallery', [
    { keys: 'j', does: 'Next', run: () => show(shown[index + 1] ?? open) },
    { keys: 'k', does: 'The one before', run: () => show(shown[index - 1] ?? open) },
  ])
  return (
    <div className="mx-auto max-w-7xl p-4 md:p-7">
      <PageHead title="Gallery">
        <WorkflowSelect
          options={workflows.map((id) => ({ id, title: titleOf(id) }))}
          value={search.workflow}
          onChange={(workflow) => void navigate({ to: '/gallery', search: { ...search, workflow } })}
        />
      </PageHead>
      <nav aria-label="Status" className="mb-4 flex gap-1">
        {STATUSES.map(({ status, word }) => (
          <Link
            key={word}
            to="/gallery"
            search={{ ...search, status, at: undefined }}
            aria-current={search.status === status ? 'page' : undefined}
            className={tabClass(search.status === status)}
          >
            {word}
          </Link>
        ))}
      </nav>
      {error !== null ? (
        <Failure error={error} retry={() => void refetch()} />
      ) : data === undefined ? (
        <Loading rows={2} className="h-56" />
      ) : shown.length === 0 ? (
        <Empty
          icon={Images}
          title="Nothing here yet"
          action={
            <Link to="/library" className={buttonClass('primary')}>
              Open the library
            </Link>
          }
        >
          {search.status === 'review'
            ? 'No file waits for a decision.'
            : 'What runs finish is shown here. Make something first.'}
        </Empty>
      ) : (
        <ul className="grid grid-cols-2 gap-3 sm:grid-cols-3 lg:grid-cols-4 xl:grid-cols-5">
          {shown.map((artifact) => (
            <li key={artifact.id}>
              <button
                type="button"
                onClick={() => show(artifact)}
                className="group block w-full overflow-hidden rounded-xl border border-line bg-panel text-left hover:border-strong-line"
              >
                <span className="checkerboard grid aspect-square place-items-center overflow-hidden">
                  <Preview artifact={artifact} />
                </span>
                <span className="flex items-center gap-2 border-t border-line px-3 py-2">
                  <span className="min-w-0 flex-1">
                    <span className="block truncate">{titleOf(artifact.workflow)}</span>
                    <span className="block truncate text-sm text-faint">
                      {artifact.role} · {ago(artifact.created_at)}
                    </span>
                  </span>
                </span>
              </button>
            </li>
          ))}
        </ul>
      )}
      <Dialog open={open !== undefined} title={open?.role ?? ''} wide onClose={() => show(undefined)}>
        {open !== undefined && <Large artifact={open} />}
      </Dialog>
    </div>
  )
}

function Preview({ artifact }: { artifact: Artifact }) {
  if (artifact.mime_type.startsWith('image/'))
    return (
      <img
        src={thumbnailUrl(artifact.id, 320)}
        alt={`${artifact.role} of ${artifact.workflow}`}
        loading="lazy"
        className="size-full object-contain p-3"
      />
    )
  if (artifact.mime_type.startsWith('video/'))
    return (
      <video src={`${contentUrl(artifact.id)}#t=0.5`} preload="metadata" muted className="size-full object-cover" />
    )
  return (
    <span className="grid justify-items-center gap-2 text-dim">
      <FileText aria-hidden className="size-7" strokeWidth={1.5} />
      {artifact.mime_type}
    </span>
  )
}

function Large({ artifact }: { artifact: Artifact }) {
  return (
    <>
      <div className="h-[60dvh] overflow-hidden rounded-lg border border-line">
        <Stage artifact={artifact} isZoomed={false} ground="checkerboard" />
      </div>
      <div className="mt-4 flex flex-wrap items-center gap-x-3 gap-y-2">
        <span className="min-w-0 flex-1 text-dim">
          {titleOf(artifact.workflow)} {artifact.workflow_version}
          <span className="block text-sm text-faint">
            {artifact.width !== undefined && `${artifact.width} × ${artifact.height} · `}
            {artifact.mime_type} · {bytes(artifact.bytes)} · {new Date(artifact.created_at).toLocaleString()}
          </span>
        </span>
        {artifact.simulated && <SimulatedBadge />}
        {artifact.status === 'rejected' && <Badge tone="bad">Rejected</Badge>}
        <Link to="/runs/$runId" params={{ runId: artifact.run_id }} search={{}} className={buttonClass()}>
          Its run
        </Link>
        <Link
          to="/launch/$"
          params={{ _splat: artifact.workflow }}
          search={{ from: artifact.run_id }}
          className={buttonClass()}
        >
          <Play aria-hidden className="size-4" />
          Run again with …
        </Link>
        <a href={contentUrl(artifact.id)} download className={buttonClass('primary')}>
          <Download aria-hidden className="size-4" />
          Download
        </a>
      </div>
    </>
  )
}
