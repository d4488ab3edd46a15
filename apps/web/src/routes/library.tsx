// The templates by class: what each makes, and the way to make it.
import type { Artifact, WorkflowResource } from '@fabrique/schema'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { BookOpen, Clapperboard, FileSearch, Image, LayoutGrid, type LucideIcon, Search } from 'lucide-react'
import { useState } from 'react'
import { textOf } from '../words.ts'
import { thumbnailUrl } from '../api/http.ts'
import { artifactsQuery, workflowsQuery } from '../api/queries.ts'
import { Badge, Empty, Failure, Loading, PageHead } from '../ui/parts.tsx'

const CLASSES: Record<Artifact['artifact_class'], { title: string; icon: LucideIcon }> = {
  visual: { title: 'Pictures', icon: Image },
  video: { title: 'Films', icon: Clapperboard },
  research: { title: 'Research', icon: FileSearch },
  knowledge: { title: 'Knowledge', icon: BookOpen },
}

export function Library() {
  const { data, error, refetch } = useQuery(workflowsQuery)
  const { data: artifacts = [] } = useQuery(artifactsQuery())
  const [words, setWords] = useState('')
  if (error !== null) return <Failure error={error} retry={() => void refetch()} />
  const fits = (one: WorkflowResource) =>
    [one.id, one.name, one.description, one.category].map(textOf).join(' ').toLowerCase().includes(words.toLowerCase())
  const shown = data?.filter(fits) ?? []
  const classes = Object.entries(CLASSES).map(([of, words]) => ({
    ...words,
    of,
    templates: shown.filter(({ artifactClass }) => artifactClass === of),
  }))
  return (
    <div className="mx-auto max-w-6xl p-4 md:p-7">
      <PageHead title="Library" lead="Pick a template, say what you want, see what it costs before it runs.">
        <label className="relative w-full sm:w-64">
          <span className="sr-only">Search templates</span>
          <Search aria-hidden className="pointer-events-none absolute top-2.5 left-2.5 size-3.5 text-faint" />
          <input
            type="search"
            placeholder="Search templates"
            value={words}
            onChange={({ target }) => setWords(target.value)}
            className="field pl-8"
          />
        </label>
      </PageHead>
      {data === undefined ? (
        <Loading rows={4} className="h-28" />
      ) : shown.length === 0 ? (
        <Empty icon={LayoutGrid} title={words === '' ? 'No templates yet' : 'No template fits'}>
          {words === ''
            ? 'An admin publishes templates with fab-workflow or the API; they appear here at once.'
            : `Nothing is called or described by “${words}”. Search for another word.`}
        </Empty>
      ) : (
        classes
          .filter(({ templates }) => templates.length > 0)
          .map(({ of, title, icon, templates }) => (
            <section key={of} className="mb-8">
              <h2 className="mb-2.5 text-dim">{title}</h2>
              <ul className="grid gap-3 sm:grid-cols-2 xl:grid-cols-3">
                {templates.map((template) => (
                  <Card
                    key={template.id}
                    template={template}
                    icon={icon}
                    sample={artifacts.find((one) => one.workflow === template.id && isPicture(one))}
                  />
                ))}
              </ul>
            </section>
          ))
      )}
    </div>
  )
}

const isPicture = ({ mime_type: type, status }: Artifact) =>
  type.startsWith('image/') && status !== 'draft' && status !== 'rejected'

function Card({
  template,
  icon: Icon,
  sample,
}: {
  template: WorkflowResource
  icon: LucideIcon
  sample: Artifact | undefined
}) {
  const { id, name, description, visibility, version } = template
  return (
    <li>
      <Link
        to="/launch/$"
        params={{ _splat: id }}
        search={{}}
        className="flex h-full gap-3.5 rounded-xl border border-line bg-panel p-3 hover:border-strong-line hover:bg-raised"
      >
        <span
          className={`grid size-20 shrink-0 place-items-center overflow-hidden rounded-lg ${sample === undefined ? 'bg-raised text-faint' : 'checkerboard'}`}
        >
          {sample === undefined ? (
            <Icon aria-hidden className="size-6" strokeWidth={1.5} />
          ) : (
            <img src={thumbnailUrl(sample.id, 160)} alt="" className="size-full object-contain p-1" />
          )}
        </span>
        <span className="flex min-w-0 flex-col">
          <span className="font-medium">{textOf(name) || id}</span>
          <span className="line-clamp-2 text-sm text-dim">{textOf(description)}</span>
          <span className="mt-auto flex items-center gap-2 pt-1.5 text-xs text-faint">
            {visibility !== 'public' && (
              <Badge tone={visibility === 'draft' ? 'warn' : 'neutral'}>
                {visibility === 'draft' ? 'Draft' : 'Internal'}
              </Badge>
            )}
            <span className="truncate font-mono">{textOf(version)}</span>
          </span>
        </span>
      </Link>
    </li>
  )
}
