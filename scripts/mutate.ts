/**
 * `npm run mutate`: breaks the engine in one place at a time and counts the breaks that its unit tests notice.
 * Arguments are files or folders to break, all of `packages/engine/src` by default; `file.ts:10-20` is a part of one.
 */
import { statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Stryker } from '@stryker-mutator/core'
import { checkout } from './supervisor.ts'

const SOURCES = 'packages/engine/src'
const REPORTS = '.cache/mutate'

/** What a path stands for, as a pattern. */
function patternOf(path: string): string {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ? `${path.replace(/\/$/, '')}/**/*.ts` : path
}

process.chdir(checkout)
// Stryker removes its copies of the sources on a signal; that our launcher was killed is told by the channel alone.
process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'))
const paths = process.argv.slice(2)
const stryker = new Stryker({
  mutate: [...(paths.length > 0 ? paths : [SOURCES]).map(patternOf), '!**/*.test.ts', `!${SOURCES}/testing/**`],
  testRunner: 'vitest',
  plugins: ['@stryker-mutator/vitest-runner', fileURLToPath(new URL('mutate-ignorer.ts', import.meta.url))],
  ignorers: ['wording'],
  // Only the engine and what its tests are run by is copied; other packages are found through node_modules.
  // The test of random histories stays out: it takes seconds, and nearly every mutant would have to pay for it.
  ignorePatterns: [
    '**',
    `!${SOURCES}/**`,
    `${SOURCES}/execution/recovery.test.ts`,
    '!vitest.config.ts',
    '!scripts/vitest-setup.ts',
    '!package.json',
  ],
  coverageAnalysis: 'perTest',
  concurrency: 2,
  // Breaking a constant of a module would mean to load everything anew for each.
  ignoreStatic: true,
  tsconfigFile: 'does-not-exist.json', // Stryker would read it by an API that TypeScript 7 no longer has
  tempDirName: `${REPORTS}/tmp`,
  cleanTempDir: 'always',
  htmlReporter: { fileName: `${REPORTS}/report.html` },
  jsonReporter: { fileName: `${REPORTS}/report.json` },
  reporters: ['clear-text', 'html', 'json', process.stdout.isTTY ? 'progress' : 'progress-append-only'],
  clearTextReporter: { logTests: false, reportTests: false, allowColor: process.stdout.isTTY },
})
await stryker.runMutationTest()
process.exit()
