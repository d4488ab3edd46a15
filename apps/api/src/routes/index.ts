// The route table: one line per noun. The order matters only for the greedy workflow ids, which come last.
import type { AppDeps } from '../deps.ts'
import type { Route } from '../route.ts'
import { accountRoutes } from './accounts.ts'
import { artifactRoutes } from './artifacts.ts'
import { batchRoutes } from './batch.ts'
import { eventRoutes } from './events.ts'
import { docsRoutes, healthRoutes } from './health.ts'
import { ledgerRoutes } from './ledger.ts'
import { opsRoutes } from './ops.ts'
import { pricingRoutes } from './pricing.ts'
import { reviewRoutes } from './reviews.ts'
import { runLifecycleRoutes } from './run-lifecycle.ts'
import { runRoutes } from './runs.ts'
import { scheduleRoutes } from './schedules.ts'
import { sessionRoutes } from './session.ts'
import { tokenRoutes } from './tokens.ts'
import { webhookRoutes } from './webhooks.ts'
import { workflowRoutes } from './workflows.ts'

/** Every route of the API. */
export function createRoutes(deps: AppDeps): Route[] {
  const routes: Route[] = [
    ...healthRoutes(deps),
    ...accountRoutes(deps),
    ...tokenRoutes(deps),
    ...sessionRoutes(deps),
    ...eventRoutes(deps),
    ...runRoutes(deps),
    ...runLifecycleRoutes(deps),
    ...reviewRoutes(deps),
    ...batchRoutes(deps),
    ...scheduleRoutes(deps),
    ...artifactRoutes(deps),
    ...ledgerRoutes(deps),
    ...opsRoutes(deps),
    ...pricingRoutes(deps),
    ...webhookRoutes(deps),
    ...workflowRoutes(deps),
  ]
  // Described are its own routes too.
  routes.unshift(...docsRoutes(routes))
  return routes
}
