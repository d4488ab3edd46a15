// The door: an API key, or the one-time link that `npm run up` prints.
import type { WebSession } from '@fabrique/schema'
import { useQueryClient } from '@tanstack/react-query'
import { getRouteApi, useRouter } from '@tanstack/react-router'
import { type FormEvent, useEffect, useRef, useState } from 'react'
import { api } from '../api/http.ts'
import { sessionQuery } from '../api/queries.ts'
import { Mark } from '../ui/mark.tsx'
import { Button, textIn } from '../ui/parts.tsx'

const route = getRouteApi('/sign-in')

export function SignIn() {
  const { to = '/' } = route.useSearch()
  const client = useQueryClient()
  const router = useRouter()
  const [problem, setProblem] = useState<string | null>(null)
  const [link] = useState(() => /^#(fabl_\w+)$/.exec(location.hash)?.[1])
  const [isBusy, setBusy] = useState(link !== undefined)
  const isSent = useRef(false)

  async function begin(body: { key: string } | { link: string }): Promise<void> {
    setBusy(true)
    setProblem(null)
    try {
      const { session } = await api<{ session: WebSession | null }>('/session', { body })
      client.clear()
      client.setQueryData(sessionQuery.queryKey, session)
      await router.navigate({ href: `/app${to}`, replace: true })
    } catch (error) {
      setProblem((error as Error).message)
      setBusy(false)
    }
  }

  useEffect(() => {
    if (link === undefined || isSent.current) return
    isSent.current = true
    void begin({ link })
  })

  function submit(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault()
    void begin({ key: textIn(event.currentTarget, 'key') })
  }

  return (
    <main className="grid min-h-dvh place-items-center p-5">
      <div className="w-full max-w-85">
        <Mark className="mb-6 size-10" />
        <h1>Sign in to Fabrique</h1>
        <p className="mt-1 text-dim">With the API key that you were given. It stays with this server.</p>
        <form className="mt-6 grid gap-3" onSubmit={submit}>
          <label className="grid gap-1.5">
            <span className="font-medium">API key</span>
            <input
              name="key"
              type="password"
              required
              autoFocus
              autoComplete="current-password"
              placeholder="fab_…"
              className="field font-mono"
              aria-invalid={problem !== null}
              aria-describedby="sign-in-problem"
            />
          </label>
          <p id="sign-in-problem" role="alert" className="text-bad empty:hidden">
            {problem}
          </p>
          <Button type="submit" variant="primary" disabled={isBusy}>
            {isBusy ? 'Signing in …' : 'Sign in'}
          </Button>
        </form>
        <p className="mt-8 border-t border-line pt-4 text-sm text-faint">
          On your own machine, <code className="font-mono">npm run up</code> prints a link that signs you in. The first
          admin key is in <code className="font-mono">.fabrique/admin-key</code>.
        </p>
      </div>
    </main>
  )
}
