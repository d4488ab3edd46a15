#!/usr/bin/env node
// The program as a shell finds it: on an older Node it hands over to the checkout's own, which runs TypeScript.
// Hides that step from `npm link`, whose link runs on whatever `node` comes first in PATH.
import { spawn } from 'node:child_process'
import module from 'node:module'
import { constants } from 'node:os'
import { fileURLToPath } from 'node:url'

const NODE_MAJOR = 24
const pathOf = (relative) => fileURLToPath(new URL(relative, import.meta.url))

if (Number(process.versions.node.split('.')[0]) >= NODE_MAJOR) {
  module.enableCompileCache(pathOf('../../.cache/node-compile'))
  await import('./src/main.ts')
} else {
  const child = spawn(pathOf('../../node_modules/.bin/node'), [pathOf('bin.mjs'), ...process.argv.slice(2)], {
    stdio: 'inherit',
  })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.once('error', () => {
    process.stderr.write(
      `fab-workflow needs Node ${NODE_MAJOR}; run "npm run setup" in the checkout, which brings it.\n`,
    )
    process.exit(1)
  })
  child.once('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]))
}
