// Takes the pictures of docs/guides/app.md from a running Fabrique whose providers are simulated:
//   node test/web/pictures.ts http://127.0.0.1:3000 "$(cat .fabrique/admin-key)"
// Each screen in light and dark, 1440 and 390 pixels wide, together in one file.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { RunResource } from '@fabrique/schema'
import type { Browser } from 'playwright-core'
import sharp from 'sharp'
import { checkout } from '../harness.ts'
import { launchBrowser } from './browser.ts'

const FOLDER = join(checkout, 'docs/images/app')
const SUBJECTS = ['a fox wearing a scarf', 'a lighthouse in a storm', 'an owl reading a book', 'a cactus in a pot']
const STYLES = ['sticker', 'watercolor', 'cartoon', 'kawaii']
const HEIGHT = 900
const GAP = 40

const [, , base = '', key = ''] = process.argv
const browser = await launchBrowser()
try {
  const waiting = await makeContent()
  await picture(browser, 'library', '/library', 'Generate Clip Art Asset')
  await picture(browser, 'launch', `/launch/generate-clip-art-asset?from=${waiting}`, 'Expected cost')
  await picture(browser, 'review', '/review', 'Cost so far')
  await picture(browser, 'runs', '/runs', 'Completed')
  await picture(browser, 'run', `/runs/${waiting}`, 'Steps')
  await picture(browser, 'gallery', '/gallery', 'Finished')
} finally {
  await browser.close()
}

async function ask<Body>(path: string, body?: object): Promise<Body> {
  const answer = await fetch(base + path, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', prefer: 'wait=60' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${await answer.text()}`)
  return (await answer.json()) as Body
}

/** Some finished runs, and one with variants that waits; answers its id. */
async function makeContent(): Promise<string> {
  let last = ''
  for (const [index, prompt] of SUBJECTS.entries()) {
    const isLast = index === SUBJECTS.length - 1
    const input = { prompt, style: STYLES[index], ...(isLast ? { variants: 3 } : {}) }
    const run = await ask<RunResource>('/v1/workflows/runs', { workflow: 'generate-clip-art-asset', input })
    last = run.id
    if (!isLast) await ask(`/v1/workflows/runs/${run.id}/review`, { decision: 'approve' })
  }
  return last
}

async function picture(from: Browser, name: string, path: string, text: string): Promise<void> {
  const parts: { input: Buffer; left: number; top: number }[] = []
  for (const [row, colorScheme] of (['light', 'dark'] as const).entries()) {
    let left = GAP
    for (const width of [1440, 390]) {
      const context = await from.newContext({
        viewport: { width, height: HEIGHT },
        colorScheme,
        reducedMotion: 'reduce',
      })
      const page = await context.newPage()
      await page.goto(`${base}/app${path}`)
      await page.getByLabel('API key').fill(key)
      await page.getByRole('button', { name: 'Sign in' }).click()
      await page.getByText(text).first().waitFor()
      await page.waitForLoadState('load')
      await page.waitForFunction(() =>
        [...document.images].every((image) => image.complete || image.getBoundingClientRect().top > window.innerHeight),
      )
      parts.push({ input: await page.screenshot(), left, top: GAP + row * (HEIGHT + GAP) })
      left += width + GAP
      await context.close()
    }
  }
  mkdirSync(FOLDER, { recursive: true })
  const size = {
    width: 1440 + 390 + 3 * GAP,
    height: 2 * HEIGHT + 3 * GAP,
    channels: 3 as const,
    background: '#8b8f98',
  }
  const whole = await sharp({ create: size }).composite(parts).png().toBuffer()
  await sharp(whole)
    .resize({ width: 1400 })
    .webp({ quality: 80 })
    .toFile(join(FOLDER, `${name}.webp`))
}
