import { limitsContract } from '@fabrique/engine/testing'
import { createLimits } from './limits.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }
const rules = [
  { scope: 'acme', atOnce: 3 },
  { scope: 'acme/small', atOnce: 1 },
]

limitsContract('the limits of one process', async () => {
  const limits = createLimits({ rules, log })
  return { limits, dispose: () => limits.close() }
})
