/**
 * Runs before every test file: integration and end-to-end tests need the services that `npm test` opens.
 * They fail with the remedy rather than be skipped. The tests of the services themselves open their own.
 */
import { expect } from 'vitest'

const file = expect.getState().testPath ?? ''
const needsServices = /\.(int|e2e)\.test\.ts$/.test(file) && !/\/(packages\/services|scripts)\//.test(file)

if (needsServices && !(process.env.TEST_DATABASE_URL && process.env.TEST_REDIS_URL)) {
  throw new Error('TEST_DATABASE_URL and TEST_REDIS_URL are not set: run npm test')
}
