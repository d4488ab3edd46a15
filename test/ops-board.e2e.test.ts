// The board of queues as an admin sees it: which jobs it shows, and where each of them leads.
import { isTerminalKind, type RunEvent, type RunResource } from '@fabrique/schema'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type Fabrique, startFabrique } from './harness.ts'

const LIMIT_MS = 60_000
const isEnd = ({ kind }: RunEvent) => isTerminalKind(kind)

interface Board {
  queues: {
    name: string
    readOnlyMode: boolean
    jobs: {
      name: string
      data: Record<string, string>
      isFailed: boolean
      failedReason?: string
      externalUrl?: { href: string }
    }[]
  }[]
}

let fabrique: Fabrique
beforeAll(async () => {
  fabrique = await startFabrique()
}, LIMIT_MS)
afterAll(() => fabrique?.stop())

it.each([
  [90, 'runs-interactive'],
  [50, 'runs-batch'],
])(
  'a bundle of priority %i is a job per slot in %s, named by its workflow, with ids only and a link to its run',
  async (priority, lane) => {
    const hooks = (topic: string) => ({ workflow: 'hooks/generate', input: { topic, count: 1 } })
    const { id } = await fabrique.submit({ workflow: 'bundle/ad-hoc', priority, bundle: [hooks('tea'), hooks('rain')] })
    await fabrique.waitFor(id, isEnd)
    const { outputs } = await fabrique.run(id)
    const { body } = await fabrique.request<Board>(`/ops/queues/api/queues?activeQueue=${lane}`)

    const queue = body.queues.find(({ name }) => name === lane)
    expect(queue?.readOnlyMode).toBe(true)
    const shown = (queue?.jobs ?? []).filter(({ data }) => outputs.some(({ run_id }) => run_id === data.run_id))
    expect(shown.map(({ name }) => name)).toEqual(['hooks/generate', 'hooks/generate'])
    expect(new Set(shown.map(({ data }) => data.run_id))).toEqual(new Set(outputs.map(({ run_id }) => run_id)))
    for (const { data, externalUrl } of shown) {
      expect(Object.keys(data).filter((key) => !key.endsWith('_id'))).toEqual([])
      const linked = await fabrique.request<RunResource>(externalUrl?.href ?? '')
      expect(linked.body).toMatchObject({ id: data.run_id, root_run_id: id })
    }
  },
  LIMIT_MS,
)

/** As a browser asks: its own headers, and no bearer key. */
async function browse(path: string, headers: Record<string, string> = {}): Promise<Response> {
  return await fetch(new URL(path, fabrique.url), { headers: { accept: 'text/html,*/*', ...headers } })
}

const basic = () => ({ authorization: `Basic ${Buffer.from(`any:${fabrique.adminKey}`).toString('base64')}` })

it(
  'a fresh browser is asked for a key once, and gets every file of the page and the way home',
  async () => {
    const refused = await browse('/ops/queues')
    expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([401, expect.stringMatching(/^Basic /)])
    const page = await browse('/ops/queues', basic())
    const html = await page.text()
    const base = /<base href="([^"]+)"/.exec(html)?.[1] ?? ''
    const files = [...html.matchAll(/(?:src|href)="(?!http)([^"]*static[^"]+)"/g)].map(([, file = '']) => file)
    expect(files.length).toBeGreaterThan(5)
    for (const file of files) {
      const address = new URL(file, new URL(base, fabrique.url))
      expect((await browse(address.pathname)).status, file).toBe(200)
    }
    expect(new URL(base, fabrique.url).pathname).toMatch(/^\/ops\/queues\/?$/)
    for (const home of [base, '/ops/queues/']) expect((await browse(home, basic())).status, home).toBe(200)
    expect((await browse('/ops/queues/runs/a%00b/x', basic())).status).toBe(404)
    for (const closed of [
      '/ops/queues/api/queues',
      '/ops/queues/',
      '/ops/queues/static/../api/queues',
      '/ops/queues/runs/system/x',
    ])
      expect((await browse(closed)).status, closed).toBe(401)
  },
  LIMIT_MS,
)

it(
  'the page asks nobody else for anything, and its policy would not let it',
  async () => {
    const page = await browse('/ops/queues', basic())
    expect((await page.text()).match(/https?:[^"' ]+/g)).toBeNull()
    expect(page.headers.get('content-security-policy')).toMatch(/^default-src 'none'; script-src 'self';/)
  },
  LIMIT_MS,
)

it(
  'a rejected run is a failed job, and leads to the run in the browser',
  async () => {
    const { key } = await fabrique.createOperator('Rejecting')
    const run = await fabrique.submit(
      { workflow: 'generate-clip-art-asset', input: { prompt: 'a fox' }, priority: 90 },
      { key },
    )
    await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.waiting', { key })
    const body = { decision: 'reject' }
    expect((await fabrique.request(`/v1/workflows/runs/${run.id}/review`, { key, body })).status).toBe(200)
    await fabrique.waitFor(run.id, isEnd, { key })
    const jobs = async () => {
      const { body: board } = await fabrique.request<Board>('/ops/queues/api/queues?activeQueue=runs-interactive')
      return board.queues.flatMap((queue) => queue.jobs).filter(({ data }) => data.run_id === run.id)
    }
    // The job ends a moment after its run.
    await expect.poll(async () => (await jobs()).some(({ isFailed }) => isFailed), { timeout: 20_000 }).toBe(true)
    const failed = (await jobs()).find(({ isFailed }) => isFailed)
    expect(failed?.failedReason).toMatch(/^[a-z-]+$/)
    const shown = await browse(failed?.externalUrl?.href ?? '', basic())
    expect(await shown.json()).toMatchObject({ id: run.id, status: 'failed' })
  },
  LIMIT_MS,
)
