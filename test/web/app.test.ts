// The operator app in a real browser, on a whole Fabrique: what a person does, and what they see.
import { readFile } from 'node:fs/promises'
import type { Artifact, Review, RunResource } from '@fabrique/schema'
import type { Browser, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { freePort } from '../../scripts/ports.ts'
import { buildWebApp } from '../../scripts/web-build.ts'
import { type AnotherApi, type Fabrique, FOX, type Operator, startFabrique } from '../harness.ts'
import { accessibilityFaults, findBrowser, launchBrowser, overflow, person, type Watched } from './browser.ts'

const LIMIT_MS = 120_000
const VISIBLE = { timeout: 30_000 }
const FIRST_LOAD_BYTES_MAX = 150_000

describe.skipIf(findBrowser() === undefined)('the operator app', () => {
  let browser: Browser
  let fabrique: Fabrique
  let operator: Operator
  let webApp: string
  let people: Watched[] = []
  /** Whose browser complains of what the test is about. */
  const forgiven = new Set<Watched>()
  const forgive = () => people.forEach((one) => forgiven.add(one))

  beforeAll(async () => {
    webApp = await buildWebApp()
    ;[browser, fabrique] = await Promise.all([launchBrowser(), startFabrique({ env: { FABRIQUE_WEB_APP: webApp } })])
    operator = await fabrique.createOperator('Studio')
  }, LIMIT_MS)
  afterAll(async () => {
    await browser?.close()
    await fabrique?.stop()
  })
  afterEach(async () => {
    const complaints = people.filter((one) => !forgiven.has(one)).flatMap((one) => one.complaints)
    await Promise.all(people.map(({ context }) => context.close()))
    people = []
    expect(complaints).toEqual([])
  })

  /** A page of somebody new, who is signed in by this key. */
  async function signedIn(path: string, { key = operator.key, width = 1280, url = fabrique.url } = {}): Promise<Page> {
    const someone = await person(browser, { width })
    people.push(someone)
    const page = await someone.context.newPage()
    await page.goto(`${url}/app${path}`)
    await page.getByLabel('API key').fill(key)
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('navigation', { name: 'Screens' }).waitFor(VISIBLE)
    return page
  }

  async function waitingRun(spec: object = FOX, key = operator.key): Promise<RunResource> {
    const run = await fabrique.submit(spec, { key })
    await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.waiting', { key })
    return run
  }

  const reviewUrl = (run: RunResource) => `/review?at=${run.id}.hitl-review`
  const statusOf = async ({ id }: RunResource, key = operator.key) =>
    (await fabrique.request<RunResource>(`/v1/workflows/runs/${id}`, { key })).body.status

  it(
    'opens signed in by a link, once',
    async () => {
      const { body } = await fabrique.request<{ url: string }>('/session/links', { method: 'POST' })
      const [first, second] = [await person(browser), await person(browser)]
      people.push(first, second)
      const page = await first.context.newPage()
      await page.goto(body.url)
      await page.getByRole('heading', { name: 'Library' }).waitFor(VISIBLE)
      expect(await page.evaluate(() => document.cookie)).toBe('')

      const other = await second.context.newPage()
      await other.goto(body.url)
      await other.getByText('This link was used before').waitFor(VISIBLE)
      second.complaints.length = 0 // the refusal, which the browser calls an error
    },
    LIMIT_MS,
  )

  it(
    'leads from the library over a fault to a run, to its review by keys alone, and to the file',
    async () => {
      const page = await signedIn('/library')
      await page.getByRole('link', { name: /Generate Clip Art Asset/ }).click()
      await page.getByLabel('Subject').fill('a')
      await page.getByRole('button', { name: /^Run/ }).click()
      await page.getByText('Must have at least 2 characters; it has 1.').waitFor(VISIBLE)
      await page.getByLabel('Subject').fill('a lighthouse in a storm')
      await page.getByRole('button', { name: 'watercolor' }).click()
      await page.getByText('$0.053', { exact: true }).first().waitFor(VISIBLE)
      await page.getByRole('button', { name: /^Run/ }).click()

      await page.getByRole('heading', { name: 'a lighthouse in a storm' }).waitFor(VISIBLE)
      await page.getByText(/Waits for a decision/).waitFor(VISIBLE)
      const runId = new URL(page.url()).pathname.split('/').at(-1) ?? ''
      await page.keyboard.press('o')
      await page.keyboard.press('r')
      await page
        .getByRole('complementary', { name: 'What it is about' })
        .getByText('a lighthouse in a storm')
        .waitFor(VISIBLE)
      await page.keyboard.press('a')
      await page.getByText('Approved: a lighthouse in a storm').waitFor(VISIBLE)
      await fabrique.waitFor(runId, ({ kind }) => kind === 'workflow.run.completed', { key: operator.key })

      await page.keyboard.press('o')
      await page.keyboard.press('a')
      await page
        .getByRole('button', { name: /processed/ })
        .first()
        .click()
      const [download] = await Promise.all([
        page.waitForEvent('download'),
        page.getByRole('dialog').getByRole('link', { name: 'Download' }).click(),
      ])
      const { body } = await fabrique.request<{ data: Artifact[] }>(`/v1/artifacts?run_id=${runId}`, {
        key: operator.key,
      })
      const artifact = body.data.find(({ role, status }) => role === 'processed' && status === 'approved')
      expect((await readFile(await download.path())).byteLength).toBe(artifact?.bytes)
    },
    LIMIT_MS,
  )

  it(
    'sends no decision that was taken back within five seconds, and the next one',
    async () => {
      const run = await waitingRun()
      const page = await signedIn(reviewUrl(run))
      await page.getByRole('button', { name: /Approve/ }).waitFor(VISIBLE)
      await page.keyboard.press('a')
      await page.getByRole('button', { name: 'Undo' }).click()
      await page.getByRole('button', { name: 'Undo' }).waitFor({ state: 'detached' })
      await page.keyboard.press('r')
      await page.getByLabel(/Comment/).fill('Too many scarves')
      await page.keyboard.press('Enter')
      await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.failed', { key: operator.key })
      expect(
        (await fabrique.request<RunResource>(`/v1/workflows/runs/${run.id}`, { key: operator.key })).body.error?.code,
      ).toBe('review-rejected')
    },
    LIMIT_MS,
  )

  it(
    'sends at once what waits to be sent when the page is left',
    async () => {
      const run = await waitingRun()
      const page = await signedIn(reviewUrl(run))
      await page.getByRole('button', { name: /Approve/ }).waitFor(VISIBLE)
      await page.keyboard.press('a')
      await page.getByRole('button', { name: 'Undo' }).waitFor(VISIBLE)
      await page.goto('about:blank')
      await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.completed', { key: operator.key })
    },
    LIMIT_MS,
  )

  it(
    'tells the second of two who decide at once who was first',
    async () => {
      const run = await waitingRun()
      const [first, second] = [await signedIn(reviewUrl(run)), await signedIn(reviewUrl(run))]
      for (const page of [first, second]) {
        await page.getByRole('button', { name: /Approve/ }).waitFor(VISIBLE)
        await page.keyboard.press('a')
      }
      await second.getByText(/(key_\w+) approved “.+” first\./).waitFor(VISIBLE)
      expect(await statusOf(run)).not.toBe('failed')
    },
    LIMIT_MS,
  )

  it(
    'makes another try with a direction, as a child of the run that it rejects',
    async () => {
      const run = await waitingRun()
      const page = await signedIn(reviewUrl(run))
      await page.getByRole('button', { name: /Approve/ }).waitFor(VISIBLE)
      await page.keyboard.press('g')
      await page.getByLabel('What should be different?').fill('in the snow')
      await page.getByRole('button', { name: 'Generate again' }).click()
      await page.getByText(/Another try is on its way/).waitFor(VISIBLE)
      await fabrique.waitFor(run.id, ({ kind }) => kind === 'workflow.run.failed', { key: operator.key })
      const { body } = await fabrique.request<{ data: RunResource[] }>(
        `/v1/workflows/runs?parent_run_id=${run.id}&fields=input`,
        { key: operator.key },
      )
      expect(body.data.map(({ input }) => input.regenerate)).toMatchObject([{ direction: 'in the snow' }])
    },
    LIMIT_MS,
  )

  it(
    'decides ten that wait by ten keys',
    async () => {
      const { key } = await fabrique.createOperator('Busy')
      const input = (index: number) => ({ ...FOX, input: { ...FOX.input, prompt: `fox number ${index}` } })
      const runs = await Promise.all(Array.from({ length: 10 }, (_, index) => waitingRun(input(index), key)))
      const page = await signedIn('/review', { key })
      await page.getByRole('heading', { name: '10 waiting' }).waitFor(VISIBLE)
      for (let left = 10; left > 0; left -= 1) {
        await page.keyboard.press('a')
        if (left > 1) await page.getByRole('heading', { name: `${left - 1} waiting` }).waitFor(VISIBLE)
      }
      await page.getByText('Nothing waits for you').waitFor(VISIBLE)
      for (const { id } of runs) await fabrique.waitFor(id, ({ kind }) => kind === 'workflow.run.completed', { key })
    },
    LIMIT_MS,
  )

  it(
    'shows an operator of another organization nothing of this one',
    async () => {
      const run = await waitingRun()
      const { key } = await fabrique.createOperator('Strangers')
      const page = await signedIn('/review', { key })
      await page.getByText('Nothing waits for you').waitFor(VISIBLE)
      await page.goto(`${fabrique.url}/app/runs`)
      await page.getByText('No runs yet').waitFor(VISIBLE)
      await page.goto(`${fabrique.url}/app/gallery`)
      await page.getByText('Nothing here yet').waitFor(VISIBLE)
      await page.goto(`${fabrique.url}/app/runs/${run.id}`)
      await page.getByText('There is no such thing here').waitFor(VISIBLE)
      forgive() // a 404 is what this is about
    },
    LIMIT_MS,
  )

  it(
    'keeps eight tabs up to date by one stream',
    async () => {
      const { key } = await fabrique.createOperator('Tabs')
      const first = await signedIn('/runs', { key })
      const tabs = [first]
      let streams = 0
      first.context().on('request', (request) => {
        if (request.url().endsWith('/v1/events/stream')) streams += 1
      })
      for (let more = 7; more > 0; more -= 1) {
        const tab = await first.context().newPage()
        await tab.goto(`${fabrique.url}/app/runs`)
        tabs.push(tab)
      }
      await Promise.all(tabs.map((tab) => tab.getByText('No runs yet').waitFor(VISIBLE)))
      await fabrique.submit({ ...FOX, input: { ...FOX.input, prompt: 'seen in every tab' } }, { key })
      await Promise.all(tabs.map((tab) => tab.getByText('seen in every tab').waitFor(VISIBLE)))
      expect(streams).toBeLessThanOrEqual(1) // that of the first tab may have been open before
    },
    LIMIT_MS,
  )

  it(
    'says that the connection is lost, and heals by itself when the API is back',
    async () => {
      const PORT = String(await freePort('127.0.0.1'))
      const { key } = await fabrique.createOperator('Patient')
      let api: AnotherApi = await fabrique.startApi({ PORT })
      const page = await signedIn('/runs', { key, url: api.url })
      await page.getByText('No runs yet').waitFor(VISIBLE)
      await api.kill('SIGKILL')
      await page.getByText('The connection is lost').waitFor(VISIBLE)
      await fabrique.submit({ ...FOX, input: { ...FOX.input, prompt: 'made meanwhile' } }, { key })
      api = await fabrique.startApi({ PORT })
      await page.getByText('made meanwhile').waitFor(VISIBLE)
      await page.getByText('The connection is lost').waitFor({ state: 'detached', ...VISIBLE })
      forgive() // the browser names each connection that it could not make
    },
    LIMIT_MS,
  )

  it(
    'leads back to where somebody wanted to go after they signed in, and to the door once their key ends',
    async () => {
      const { key, organizationId } = await fabrique.createOperator('Leaving')
      const page = await signedIn('/runs?status=failed', { key })
      expect(new URL(page.url()).search).toBe('?status=failed')
      const { body } = await fabrique.request<{ data: { id: string; organization_id: string }[] }>('/v1/api-keys')
      const id = body.data.find((one) => one.organization_id === organizationId)?.id
      await fabrique.request(`/v1/api-keys/${id}`, { method: 'DELETE' })
      await page.getByRole('heading', { name: 'Sign in to Fabrique' }).waitFor(VISIBLE)
      forgive() // a 401 is what this is about
    },
    LIMIT_MS,
  )

  describe('every screen', () => {
    let run: RunResource
    beforeAll(async () => {
      run = await waitingRun({ ...FOX, input: { ...FOX.input, variants: 2 } })
    }, LIMIT_MS)

    const screens = [
      ['the library', '/library', 'Generate Clip Art Asset'],
      ['the launch form', '/launch/generate-clip-art-asset', 'Expected cost'],
      ['the review inbox', '/review', 'What it is about'],
      ['the runs', '/runs', 'Completed'],
      ['a run', '/runs/', 'Steps'],
      ['the gallery', '/gallery', 'In review'],
    ] as const

    it.each(screens)(
      '%s has no fault that axe finds in light or dark, and fits 390 pixels',
      async (_name, path, text) => {
        const page = await signedIn(path.endsWith('/') ? path + run.id : path)
        await page.getByText(text).or(page.getByLabel(text)).first().waitFor(VISIBLE)
        for (const colorScheme of ['light', 'dark'] as const) {
          await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
          expect(await accessibilityFaults(page), colorScheme).toEqual([])
        }
        await page.setViewportSize({ width: 390, height: 844 })
        expect(await overflow(page)).toBe(0)
        expect(await accessibilityFaults(page), '390').toEqual([])
      },
      LIMIT_MS,
    )
  })

  it(
    `weighs at most ${FIRST_LOAD_BYTES_MAX} bytes at its first load, and asks nobody else`,
    async () => {
      const someone = await person(browser)
      people.push(someone)
      const page = await someone.context.newPage()
      const hosts = new Set<string>()
      const client = await someone.context.newCDPSession(page)
      await client.send('Network.enable')
      let bytes = 0
      client.on('Network.loadingFinished', ({ encodedDataLength }) => {
        bytes += encodedDataLength
      })
      page.on('request', (request) => hosts.add(new URL(request.url()).host))
      await page.goto(`${fabrique.url}/app/`)
      await page.getByRole('heading', { name: 'Sign in to Fabrique' }).waitFor(VISIBLE)
      expect([...hosts]).toEqual([new URL(fabrique.url).host])
      expect(bytes).toBeLessThan(FIRST_LOAD_BYTES_MAX)
      expect(bytes).toBeGreaterThan(10_000)
    },
    LIMIT_MS,
  )

  it('lists reviews by page, with what they are about', async () => {
    const { key } = await fabrique.createOperator('Pages')
    const runs = [await waitingRun(FOX, key), await waitingRun(FOX, key)]
    type Page = { data: Review[]; next_cursor: string | null }
    const first = await fabrique.request<Page>('/v1/reviews?limit=1', { key })
    const second = await fabrique.request<Page>(`/v1/reviews?limit=1&cursor=${first.body.next_cursor}`, { key })
    expect([first, second].map(({ body }) => body.data.map(({ run_id }) => run_id))).toEqual(runs.map(({ id }) => [id]))
    expect(second.body.next_cursor).toBeNull()
    expect(first.body.data[0]).toMatchObject({ input: FOX.input, workflow: FOX.workflow, gate: { status: 'open' } })
    expect(first.body.data[0]?.artifacts.every(({ status }) => status === 'review')).toBe(true)
    expect((await fabrique.request<Page>('/v1/reviews')).body.data).not.toContainEqual(first.body.data[0])
  })
})
