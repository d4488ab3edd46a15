import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['{packages,apps,test,scripts,bench}/**/*.test.ts'],
    setupFiles: ['scripts/vitest-setup.ts'],
    // Integration tests start processes; end-to-end tests set their own, longer limits.
    testTimeout: 30_000,
    hookTimeout: 60_000,
    pool: 'forks',
    maxWorkers: 2,
    // Under `npm run mutate` the same unit tests run hundreds of times: without fresh modules for each file, 4 times faster.
    isolate: process.env.STRYKER_MUTATOR_WORKER === undefined,
    reporters: ['default'],
  },
})
