// A real browser for the tests of the operator app, and pages in it that fail the test for what nobody may see there.
// Hides where a browser is found, and how violations of the page's policy become failures.
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import axe from 'axe-core'
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core'

const NAMES = ['chromium', 'chromium-headless-shell', 'google-chrome', 'chrome']
/** A dry run that is refused is how the form learns what is missing; a gate that is taken is a 409. */
const EXPECTED = /status of (422|409)/

/** The browser's program: `CHROME`, or one of PATH; undefined where there is none. */
export function findBrowser(): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter)
  const found = [process.env.CHROME ?? '', ...folders.flatMap((folder) => NAMES.map((name) => join(folder, name)))]
  const program = found.find((one) => one !== '' && existsSync(one))
  if (program === undefined && process.env.CI !== undefined)
    throw new Error('There is no browser, and CI skips no test: install chromium, or name it by CHROME.')
  return program
}

export interface Watched {
  context: BrowserContext
  /** What the console, the policy or a script complained of so far, but for expected refusals. */
  complaints: string[]
}

export async function launchBrowser(): Promise<Browser> {
  const executablePath = findBrowser()
  if (executablePath === undefined) throw new Error('there is no browser')
  return await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] })
}

/** A browser of one person: cookies of its own, and everything that it complains of noted. */
export async function person(browser: Browser, options: { width?: number } = {}): Promise<Watched> {
  const viewport = { width: options.width ?? 1280, height: 800 }
  const context = await browser.newContext({ viewport, reducedMotion: 'reduce' })
  const complaints: string[] = []
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) =>
      console.error(`policy: ${violatedDirective} ${blockedURI}`),
    )
  })
  context.on('console', (message) => {
    if (message.type() === 'error' && !EXPECTED.test(message.text())) complaints.push(message.text())
  })
  context.on('weberror', (error) => complaints.push(error.error().message))
  return { context, complaints }
}

/** What axe finds on the page by WCAG 2.1 AA, each with the first place. */
export async function accessibilityFaults(page: Page): Promise<string[]> {
  await page.evaluate(axe.source)
  return await page.evaluate(async () => {
    type Axe = {
      run(node: Document, options: object): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }>
    }
    const { violations } = await (window as unknown as { axe: Axe }).axe.run(document, {
      runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'],
    })
    return violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html.slice(0, 160)}`)
  })
}

/** By how many pixels the page is wider than its window. */
export async function overflow(page: Page): Promise<number> {
  return await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
}
