// Every screen with its address: what somebody would send to a colleague is in it.
import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  Outlet,
  redirect,
} from '@tanstack/react-router'
import * as z from 'zod/mini'
import { queryClient, sessionQuery } from './api/queries.ts'
import { SignIn } from './routes/sign-in.tsx'
import { Shell } from './shell.tsx'
import { Failure } from './ui/parts.tsx'

const STATUSES = ['pending', 'running', 'waiting', 'completed', 'failed', 'cancelled'] as const
/** A value of the address that is not valid counts as not given. */
// oxlint-disable-next-line promise/valid-params
const given = <Schema extends z.core.$ZodType>(schema: Schema) => z.catch(z.optional(schema), undefined)

const root = createRootRoute({ component: Outlet, errorComponent: ({ error }) => <Failure error={error as Error} /> })

const signIn = createRoute({
  getParentRoute: () => root,
  path: '/sign-in',
  validateSearch: z.object({ to: given(z.string().check(z.regex(/^\/(?!\/)/))) }),
  component: SignIn,
})

const signedIn = createRoute({
  getParentRoute: () => root,
  id: 'signed-in',
  async beforeLoad({ location }) {
    const session = await queryClient.ensureQueryData(sessionQuery)
    if (session === null) throw redirect({ to: '/sign-in', search: { to: location.href } })
  },
  component: Shell,
})

const home = createRoute({
  getParentRoute: () => signedIn,
  path: '/',
  beforeLoad: () => {
    throw redirect({ to: '/library' })
  },
})

const library = createRoute({
  getParentRoute: () => signedIn,
  path: '/library',
  component: lazyRouteComponent(() => import('./routes/library.tsx'), 'Library'),
})

const launch = createRoute({
  getParentRoute: () => signedIn,
  // Ids have slashes.
  path: '/launch/$',
  validateSearch: z.object({ from: given(z.string()) }),
  component: lazyRouteComponent(() => import('./routes/launch.tsx'), 'Launch'),
})

const review = createRoute({
  getParentRoute: () => signedIn,
  path: '/review',
  validateSearch: z.object({ at: given(z.string()), artifact: given(z.string()) }),
  component: lazyRouteComponent(() => import('./routes/review.tsx'), 'ReviewInbox'),
})

const runs = createRoute({
  getParentRoute: () => signedIn,
  path: '/runs',
  validateSearch: z.object({ status: given(z.enum(STATUSES)), workflow: given(z.string()) }),
  component: lazyRouteComponent(() => import('./routes/runs.tsx'), 'Runs'),
})

const run = createRoute({
  getParentRoute: () => signedIn,
  path: '/runs/$runId',
  validateSearch: z.object({ step: given(z.string()) }),
  component: lazyRouteComponent(() => import('./routes/run.tsx'), 'Run'),
})

const gallery = createRoute({
  getParentRoute: () => signedIn,
  path: '/gallery',
  validateSearch: z.object({ workflow: given(z.string()), status: given(z.string()), at: given(z.string()) }),
  component: lazyRouteComponent(() => import('./routes/gallery.tsx'), 'Gallery'),
})

export const router = createRouter({
  routeTree: root.addChildren([signIn, signedIn.addChildren([home, library, launch, review, runs, run, gallery])]),
  basepath: '/app',
  defaultPreload: 'intent',
  scrollRestoration: false,
  defaultNotFoundComponent: () => <Failure error={new Error('There is no such page.')} />,
})

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router
  }
}
