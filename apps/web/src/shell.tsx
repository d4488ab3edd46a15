// What stands around every screen: the ways to the others, who is signed in, how the connection is, and the help of keys.
import { useQuery, useInfiniteQuery, useQueryClient } from '@tanstack/react-query'
import { Link, Outlet, useNavigate, useRouter } from '@tanstack/react-router'
import { Activity, Images, Inbox, Keyboard, LayoutGrid, LogOut, Monitor, Moon, Sun, WifiOff } from 'lucide-react'
import { useEffect, useState } from 'react'
import { api } from './api/http.ts'
import { reviewsQuery, sessionQuery } from './api/queries.ts'
import { type Connection } from './live/follow-events.ts'
import { useLiveEvents } from './live/use-live-events.ts'
import { useDecided } from './review/decisions.ts'
import { applyTheme, chosenTheme, THEMES, type Theme } from './theme.ts'
import { useBoundKeys, useKeys } from './ui/keys.ts'
import { Mark } from './ui/mark.tsx'
import { Dialog, Kbd } from './ui/parts.tsx'
import { Toasts } from './ui/toasts.tsx'

const PLACES = [
  { to: '/library', title: 'Library', icon: LayoutGrid, keys: 'o l' },
  { to: '/review', title: 'Review', icon: Inbox, keys: 'o r' },
  { to: '/runs', title: 'Runs', icon: Activity, keys: 'o u' },
  { to: '/gallery', title: 'Gallery', icon: Images, keys: 'o a' },
] as const
const TOUCH_EVERY_MS = 60_000

export function Shell() {
  const connection = useLiveEvents()
  const navigate = useNavigate()
  const [isHelpOpen, setHelpOpen] = useState(false)
  useProlonging()
  useKeys('Everywhere', [
    ...PLACES.map(({ to, title, keys }) => ({ keys, does: `Open ${title}`, run: () => void navigate({ to }) })),
    { keys: '?', does: 'Show these keys', run: () => setHelpOpen(true) },
  ])
  return (
    <div className="min-h-dvh md:grid md:grid-cols-[13rem_minmax(0,1fr)]">
      <a
        href="#content"
        className="fixed -top-20 left-3 z-50 rounded-md bg-accent-fill px-3 py-2 text-white focus:top-3"
      >
        Skip to the content
      </a>
      <Navigation onHelp={() => setHelpOpen(true)} />
      <div className="min-w-0">
        <Lost connection={connection} />
        <main id="content" tabIndex={-1} className="outline-none">
          <Outlet />
        </main>
      </div>
      <Toasts />
      <Help open={isHelpOpen} onClose={() => setHelpOpen(false)} />
    </div>
  )
}

function Navigation({ onHelp }: { onHelp: () => void }) {
  const { data: session } = useQuery(sessionQuery)
  const { data: waiting } = useInfiniteQuery(reviewsQuery)
  const decided = useDecided()
  const count = waiting?.pages.flatMap(({ data }) => data).filter(({ id }) => !decided.has(id)).length ?? 0
  const isMore = waiting?.pages.at(-1)?.next_cursor != null
  return (
    <div className="sticky top-0 z-30 flex items-center gap-1 border-b border-line bg-panel px-2 md:h-dvh md:flex-col md:items-stretch md:gap-0 md:border-r md:border-b-0 md:p-3">
      <div className="flex items-center gap-2 px-1 md:mb-5 md:px-2 md:pt-1">
        <Mark className="size-6" />
        <span className="hidden text-lg font-semibold tracking-tight md:inline">Fabrique</span>
      </div>
      <nav aria-label="Screens" className="flex flex-1 md:flex-none md:flex-col md:gap-0.5">
        {PLACES.map(({ to, title, icon: Icon, keys }) => (
          <Link
            key={to}
            to={to}
            className="group relative flex min-h-12 flex-1 flex-col items-center justify-center gap-0.5 rounded-md px-2 text-xs text-dim hover:text-ink md:min-h-8 md:flex-none md:flex-row md:justify-start md:gap-2.5 md:text-base md:hover:bg-raised"
            activeProps={{ className: '!text-ink md:bg-raised font-medium' }}
          >
            <Icon aria-hidden className="size-4 shrink-0" />
            {title}
            {to === '/review' && count > 0 ? (
              <span className="absolute top-1 left-[calc(50%+6px)] rounded-full bg-accent-fill px-1.5 text-xs leading-4 text-white md:static md:ml-auto">
                {count}
                {isMore && '+'}
                <span className="sr-only"> waiting</span>
              </span>
            ) : (
              <span className="ml-auto hidden gap-0.5 opacity-0 group-hover:opacity-100 group-focus-visible:opacity-100 md:flex">
                {keys.split(' ').map((key) => (
                  <Kbd key={key}>{key.toUpperCase()}</Kbd>
                ))}
              </span>
            )}
          </Link>
        ))}
      </nav>
      <div className="flex items-center md:mt-auto md:block">
        {session != null && (
          <div className="mb-2 hidden px-2 md:block">
            <div className="truncate font-medium">{session.organization.name}</div>
            <div className="truncate text-sm text-faint">
              {session.key.name ?? session.key.prefix} · {session.role}
            </div>
          </div>
        )}
        <div className="flex md:gap-0.5">
          <ThemeButton />
          <IconButton label="Keys" onClick={onHelp} className="hidden md:grid">
            <Keyboard aria-hidden className="size-4" />
          </IconButton>
          <SignOut />
        </div>
      </div>
    </div>
  )
}

function IconButton({
  label,
  className = 'grid',
  ...rest
}: {
  label: string
  className?: string
  onClick: () => void
  children: React.ReactNode
}) {
  return (
    <button
      type="button"
      aria-label={label}
      title={label}
      className={`size-9 place-items-center rounded-md text-dim hover:bg-raised hover:text-ink md:size-8 ${className}`}
      {...rest}
    />
  )
}

const THEME_ICONS = { system: Monitor, light: Sun, dark: Moon }

function ThemeButton() {
  const [theme, setTheme] = useState<Theme>(chosenTheme)
  const Icon = THEME_ICONS[theme]
  return (
    <IconButton
      label={`Theme: ${theme}`}
      onClick={() => {
        const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? 'system'
        applyTheme(next)
        setTheme(next)
      }}
    >
      <Icon aria-hidden className="size-4" />
    </IconButton>
  )
}

function SignOut() {
  const client = useQueryClient()
  const router = useRouter()
  async function signOut(): Promise<void> {
    await api('/session', { method: 'DELETE' })
    client.clear()
    client.setQueryData(sessionQuery.queryKey, null)
    await router.navigate({ to: '/sign-in' })
  }
  return (
    <IconButton label="Sign out" onClick={() => void signOut()}>
      <LogOut aria-hidden className="size-4" />
    </IconButton>
  )
}

/** A lost connection shows itself; it is restored without anybody's doing. */
function Lost({ connection }: { connection: Connection }) {
  if (connection !== 'lost') return null
  return (
    <div role="status" className="flex items-center gap-2 border-b border-line bg-warn-soft px-4 py-1.5 text-warn">
      <WifiOff aria-hidden className="size-4 shrink-0" />
      The connection is lost, so this page may be out of date. It reconnects by itself.
    </div>
  )
}

function Help({ open, onClose }: { open: boolean; onClose: () => void }) {
  const groups = useBoundKeys()
  return (
    <Dialog open={open} title="Keys" onClose={onClose}>
      <div className="grid gap-4">
        {groups.map(({ title, bindings }) => (
          <section key={title}>
            <h3 className="mb-1 text-sm text-faint">{title}</h3>
            <dl className="grid gap-1">
              {bindings
                .filter(({ shown }) => shown?.length !== 0)
                .map(({ keys, does, shown = keys.split(' ') }) => (
                  <div key={keys} className="flex justify-between gap-4">
                    <dt>{does}</dt>
                    <dd className="flex gap-1">
                      {shown.map((key) => (
                        <kbd
                          key={key}
                          className="min-w-5 rounded border border-strong-line px-1.5 text-center font-sans text-sm text-dim"
                        >
                          {key.length === 1 ? key.toUpperCase() : key}
                        </kbd>
                      ))}
                    </dd>
                  </div>
                ))}
            </dl>
          </section>
        ))}
      </div>
    </Dialog>
  )
}

/** Input keeps the session alive; open pages and events do not. */
function useProlonging(): void {
  useEffect(() => {
    let touchedAtMs = Date.now()
    function touch(): void {
      if (Date.now() - touchedAtMs < TOUCH_EVERY_MS) return
      touchedAtMs = Date.now()
      api('/session', { method: 'PATCH' }).catch(() => {})
    }
    const kinds = ['pointerdown', 'keydown'] as const
    for (const kind of kinds) document.addEventListener(kind, touch)
    return () => {
      for (const kind of kinds) document.removeEventListener(kind, touch)
    }
  }, [])
}
