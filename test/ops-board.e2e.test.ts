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
    jobs: { name: string; data: Record<string, string>; externalUrl?: { href: string } }[]
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
