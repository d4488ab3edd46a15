// The review inbox: what waits for a person, one large, the rest beside it, decided by single keys.
import type { Artifact, Review } from '@fabrique/schema'
import { useInfiniteQuery } from '@tanstack/react-query'
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router'
import { Check, Contrast, Download, Inbox, RefreshCw, Undo2, X, ZoomIn } from 'lucide-react'
import { type FormEvent, useEffect, useState } from 'react'
import { contentUrl, thumbnailUrl } from '../api/http.ts'
import { reviewsQuery } from '../api/queries.ts'
import { decide, isAboutMoney, takeBack, useDecided } from '../review/decisions.ts'
import { RegenerateDialog } from '../review/regenerate.tsx'
import { type Ground, nextGround, pictureIn, Stage } from '../review/stage.tsx'
import { useKeys } from '../ui/keys.ts'
import {
  Badge,
  Button,
  buttonClass,
  Dialog,
  Empty,
  Fact,
  Failure,
  Kbd,
  Loading,
  SimulatedBadge,
  textIn,
} from '../ui/parts.tsx'
import { ago, askedFor, money, shortValue, span, titleOf } from '../words.ts'

const route = getRouteApi('/signed-in/review')

export function ReviewInbox() {
  const { data, error, refetch, fetchNextPage, hasNextPage } = useInfiniteQuery(reviewsQuery)
  const decided = useDecided()
  const { at, artifact: artifactId } = route.useSearch()
  const navigate = useNavigate()
  const [isZoomed, setZoomed] = useState(false)
  const [ground, setGround] = useState<Ground>('checkerboard')
  const [dialog, setDialog] = useState<'reject' | 'regenerate' | null>(null)

  const reviews = (data?.pages.flatMap((page) => page.data) ?? []).filter(({ id }) => !decided.has(id))
  const index = Math.max(
    0,
    reviews.findIndex(({ id }) => id === at),
  )
  const review = reviews[index]
  // Variants of one run, and else the files of one review: what the number keys pick from.
  const siblings = review === undefined ? [] : reviews.filter(({ root_run_id: root }) => root === review.root_run_id)
  const sheet = (siblings.length > 1 ? siblings : review === undefined ? [] : [review]).flatMap((one) =>
    one.artifacts.map((artifact) => ({ review: one, artifact })),
  )
  const artifact = review?.artifacts.find(({ id }) => id === artifactId) ?? review?.artifacts.at(-1)

  function show(next: Review | undefined, of?: Artifact): void {
    setZoomed(false)
    void navigate({ to: '/review', search: { at: next?.id, artifact: of?.id }, replace: true })
  }
  const move = (by: number) => show(reviews[Math.min(Math.max(index + by, 0), reviews.length - 1)])
  /** The next one moves up by itself; after the last one it is the one before. */
  function close(decision: 'approve' | 'reject', comment?: string): void {
    if (review === undefined) return
    decide(review, decision, comment)
    show(reviews[index + 1] ?? reviews[index - 1])
  }

  useEffect(() => {
    if (hasNextPage && reviews.length < 20) void fetchNextPage()
  }, [hasNextPage, reviews.length, fetchNextPage])

  useKeys('Review', [
    { keys: 'a', does: 'Approve', run: () => close('approve') },
    { keys: 'r', does: 'Reject, with a comment', run: () => review !== undefined && setDialog('reject') },
    { keys: 'g', does: 'Generate it again', run: () => review !== undefined && setDialog('regenerate') },
    { keys: 'u', does: 'Take the last decision back', run: () => show(takeBack()) },
    { keys: 'j', does: 'Next', run: () => move(1) },
    { keys: 'k', does: 'The one before', run: () => move(-1) },
    { keys: 'z', does: 'Own size, or all of it', run: () => setZoomed(!isZoomed) },
    { keys: 'b', does: 'Another ground', run: () => setGround(nextGround(ground)) },
    ...sheet.slice(0, 9).map((one, position) => ({
      keys: String(position + 1),
      does: 'Look at this one',
      shown: position === 0 ? ['1', '…', String(Math.min(9, sheet.length))] : [],
      run: () => show(one.review, one.artifact),
    })),
  ])

  if (error !== null) return <Failure error={error} retry={() => void refetch()} />
  if (data === undefined)
    return (
      <div className="p-7">
        <Loading rows={1} className="h-[70dvh]" />
      </div>
    )
  if (review === undefined)
    return (
      <Empty
        icon={Inbox}
        title="Nothing waits for you"
        action={
          <Link to="/library" className={buttonClass('primary')}>
            Make something
          </Link>
        }
      >
        Runs with a review step stop here and wait for your decision. They appear by themselves.
      </Empty>
    )
  const isUnknown = isAboutMoney(review)
  const before = pictureIn(review.input)
  return (
    <div className="grid md:h-dvh md:grid-cols-[15rem_minmax(0,1fr)] xl:grid-cols-[15rem_minmax(0,1fr)_19rem]">
      <h1 className="sr-only">Review</h1>
      <Queue reviews={reviews} current={review} onPick={show} isMore={hasNextPage} />
      <div className="flex min-h-0 min-w-0 flex-col md:row-span-2 xl:row-span-1">
        <div className="h-[52dvh] min-h-0 md:h-auto md:flex-1">
          {artifact === undefined ? (
            <Empty icon={Inbox} title={isUnknown ? 'A paid answer was lost' : 'There is no file to look at'}>
              {review.gate.detail ?? 'The decision is about the run itself; its page shows what it has done so far.'}
            </Empty>
          ) : (
            <Stage artifact={artifact} before={before} isZoomed={isZoomed} ground={ground} />
          )}
        </div>
        {sheet.length > 1 && <Sheet sheet={sheet} current={artifact} onPick={show} />}
        <div className="sticky bottom-0 z-20 flex flex-wrap items-center gap-2 border-t border-line bg-panel p-2.5">
          <Button variant="primary" className="max-md:min-h-11 max-md:flex-1" onClick={() => close('approve')}>
            <Check aria-hidden className="size-4" />
            {isUnknown ? 'Call again' : 'Approve'} <Kbd onFill>A</Kbd>
          </Button>
          <Button variant="danger" className="max-md:min-h-11 max-md:flex-1" onClick={() => setDialog('reject')}>
            <X aria-hidden className="size-4" />
            {isUnknown ? 'Give up' : 'Reject'} <Kbd>R</Kbd>
          </Button>
          <Button className="max-md:min-h-11" onClick={() => setDialog('regenerate')}>
            <RefreshCw aria-hidden className="size-4" />
            <span className="max-md:sr-only">Again</span> <Kbd>G</Kbd>
          </Button>
          <span className="flex-1 max-md:hidden" />
          {artifact?.mime_type.startsWith('image/') === true && (
            <>
              <Button
                variant="ghost"
                aria-pressed={isZoomed}
                className="max-md:hidden"
                onClick={() => setZoomed(!isZoomed)}
              >
                <ZoomIn aria-hidden className="size-4" />
                {isZoomed ? 'Fit' : '100 %'} <Kbd>Z</Kbd>
              </Button>
              <Button variant="ghost" className="max-md:hidden" onClick={() => setGround(nextGround(ground))}>
                <Contrast aria-hidden className="size-4" />
                <span className="sr-only">Another ground</span> <Kbd>B</Kbd>
              </Button>
            </>
          )}
          {artifact !== undefined && (
            <a
              href={contentUrl(artifact.id)}
              download
              aria-label="Download this file"
              className={`${buttonClass('ghost')} max-md:min-h-11`}
            >
              <Download aria-hidden className="size-4" />
            </a>
          )}
        </div>
      </div>
      <Facts review={review} artifact={artifact} />
      <RejectDialog
        open={dialog === 'reject'}
        isUnknown={isUnknown}
        onClose={() => setDialog(null)}
        onReject={(comment) => {
          setDialog(null)
          close('reject', comment)
        }}
      />
      <RegenerateDialog
        parent={review}
        open={dialog === 'regenerate'}
        onClose={() => setDialog(null)}
        onStarted={() => close('reject', 'Generated again.')}
      />
    </div>
  )
}

function Queue({
  reviews,
  current,
  onPick,
  isMore,
}: {
  reviews: Review[]
  current: Review
  onPick: (review: Review) => void
  isMore: boolean
}) {
  return (
    <section
      aria-label="Waiting"
      className="flex min-h-0 flex-col border-line bg-panel max-md:border-b md:row-span-2 md:border-r xl:row-span-1"
    >
      <h2 className="hidden shrink-0 border-b border-line px-3.5 py-3 md:block">
        {reviews.length}
        {isMore && '+'} waiting
      </h2>
      <ul className="flex min-h-0 gap-1 overflow-auto p-1.5 md:block md:flex-1">
        {reviews.map((review) => (
          <QueueItem key={review.id} review={review} isCurrent={review === current} onPick={() => onPick(review)} />
        ))}
      </ul>
    </section>
  )
}

function QueueItem({ review, isCurrent, onPick }: { review: Review; isCurrent: boolean; onPick: () => void }) {
  const picture = review.artifacts.find(({ mime_type: type }) => type.startsWith('image/'))
  return (
    <li className="shrink-0">
      <button
        type="button"
        aria-current={isCurrent}
        onClick={onPick}
        ref={(node) => {
          if (isCurrent) node?.scrollIntoView({ block: 'nearest', inline: 'nearest' })
        }}
        className={`flex w-full gap-2.5 rounded-lg p-1.5 text-left ${isCurrent ? 'bg-accent-soft' : 'hover:bg-raised'}`}
      >
        <span className="checkerboard grid size-11 shrink-0 place-items-center overflow-hidden rounded-md">
          {picture === undefined ? (
            <Inbox aria-hidden className="size-4 text-faint" />
          ) : (
            <img src={thumbnailUrl(picture.id, 160)} alt="" loading="lazy" className="size-full object-contain" />
          )}
        </span>
        <span className="hidden min-w-0 flex-1 md:block">
          <span className="block truncate font-medium">{askedFor(review.input) || titleOf(review.workflow)}</span>
          <span className="block truncate text-sm text-faint">
            {review.slot_index !== null && `No. ${review.slot_index + 1} · `}
            {titleOf(review.workflow)} · {ago(review.since)}
          </span>
        </span>
        <span className="sr-only md:hidden">{askedFor(review.input) || titleOf(review.workflow)}</span>
      </button>
    </li>
  )
}

/** What belongs together, side by side. */
function Sheet({
  sheet,
  current,
  onPick,
}: {
  sheet: { review: Review; artifact: Artifact }[]
  current: Artifact | undefined
  onPick: (review: Review, artifact: Artifact) => void
}) {
  return (
    <ul aria-label="Side by side" className="flex shrink-0 gap-2 overflow-x-auto border-t border-line bg-panel p-2.5">
      {sheet.map(({ review, artifact }, index) => (
        <li key={artifact.id}>
          <button
            type="button"
            aria-current={artifact === current}
            onClick={() => onPick(review, artifact)}
            className={`relative grid size-16 place-items-center overflow-hidden rounded-md border-2 ${artifact === current ? 'border-accent' : 'border-transparent'}`}
          >
            {artifact.mime_type.startsWith('image/') ? (
              <img
                src={thumbnailUrl(artifact.id, 160)}
                alt={artifact.role}
                className="checkerboard size-full object-contain"
              />
            ) : (
              <span className="truncate px-1 text-xs text-dim">{artifact.role}</span>
            )}
            {index < 9 && (
              <span
                aria-hidden
                className="absolute bottom-0.5 left-0.5 rounded bg-panel px-1 text-xs leading-4 text-dim"
              >
                {index + 1}
              </span>
            )}
          </button>
        </li>
      ))}
    </ul>
  )
}

function Facts({ review, artifact }: { review: Review; artifact: Artifact | undefined }) {
  const { cost, gate, input, expires_at: expiresAt, on_expiry: onExpiry } = review
  const asked = Object.entries(input).filter(([name]) => name !== 'regenerate' && name !== 'variants')
  const direction = (input.regenerate as { direction?: string } | undefined)?.direction
  return (
    <aside
      aria-label="What it is about"
      className="overflow-auto border-line bg-panel p-4 max-xl:border-t md:max-xl:col-start-2 md:max-xl:max-h-64 xl:border-l"
    >
      <div className="flex flex-wrap items-center gap-1.5">
        <Badge tone="warn">{gate.name}</Badge>
        {review.simulated && <SimulatedBadge />}
        {review.parent_run_id !== null && <Badge>Another try</Badge>}
      </div>
      <h2 className="mt-2.5 text-lg">{titleOf(review.workflow)}</h2>
      <dl className="mt-4 grid gap-3.5 md:max-xl:grid-cols-2">
        {gate.detail !== null && <Fact term="Why it waits">{gate.detail}</Fact>}
        {direction !== undefined && <Fact term="What should be different">{direction}</Fact>}
        {asked.map(([name, value]) => (
          <Fact key={name} term={titleOf(name.replaceAll('_', '-'))}>
            {shortValue(value)}
          </Fact>
        ))}
        <Fact term="Cost so far">
          {money(cost.actual)}
          <span className="text-faint">
            {' '}
            of {money(cost.estimated)} expected{review.simulated && ', simulated'}
          </span>
        </Fact>
        <Fact term="Waits since">
          <time dateTime={review.since} title={new Date(review.since).toLocaleString()}>
            {ago(review.since)}
          </time>
        </Fact>
        {expiresAt !== null && (
          <Fact term={onExpiry === 'approve' ? 'Approves itself in' : 'Rejects itself in'}>
            {span(Date.parse(expiresAt) - Date.now())}
          </Fact>
        )}
        {artifact !== undefined && (
          <Fact term="File">
            {artifact.role}
            <span className="text-faint">
              {artifact.width !== undefined && ` · ${artifact.width} × ${artifact.height}`} · {artifact.mime_type}
            </span>
          </Fact>
        )}
        <Fact term="Run">
          <Link
            to="/runs/$runId"
            params={{ runId: review.root_run_id }}
            search={{}}
            className="font-mono text-sm text-accent hover:underline"
          >
            {review.root_run_id}
          </Link>
        </Fact>
      </dl>
    </aside>
  )
}

function RejectDialog({
  open,
  isUnknown,
  onClose,
  onReject,
}: {
  open: boolean
  isUnknown: boolean
  onClose: () => void
  onReject: (comment: string) => void
}) {
  const title = isUnknown ? 'Give up on this call' : 'Reject'
  function submit(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    onReject(textIn(event.currentTarget, 'comment'))
  }
  return (
    <Dialog open={open} title={title} onClose={onClose}>
      <form className="grid gap-4" onSubmit={submit}>
        <label className="grid gap-1.5">
          <span className="font-medium">
            Comment <span className="font-normal text-faint">(optional, kept with the run)</span>
          </span>
          <textarea
            name="comment"
            autoFocus
            rows={3}
            maxLength={4_000}
            className="field"
            onKeyDown={(event) => {
              if (event.key === 'Enter' && !event.shiftKey) {
                event.preventDefault()
                event.currentTarget.form?.requestSubmit()
              }
            }}
          />
        </label>
        <div className="flex items-center justify-end gap-2">
          <span className="mr-auto flex items-center gap-1 text-sm text-faint">
            <Undo2 aria-hidden className="size-3.5" />
            Can be undone for five seconds
          </span>
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" variant="primary">
            {title === 'Reject' ? 'Reject' : 'Give up'} <Kbd onFill>↵</Kbd>
          </Button>
        </div>
      </form>
    </Dialog>
  )
}
