import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { withLock } from './home-lock.ts'

function newLockFile(): string {
  const folder = mkdtempSync(join(tmpdir(), 'fabrique-lock-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  return join(folder, 'lock')
}

it('work under one lock never overlaps', async () => {
  const file = newLockFile()
  let inside = 0
  let most = 0
  const work = async () => {
    most = Math.max(most, ++inside)
    await new Promise((resolve) => setImmediate(resolve))
    inside--
  }
  await Promise.all(Array.from({ length: 5 }, () => withLock(file, work)))
  expect(most).toBe(1)
})

it('the lock of a holder killed by SIGKILL is free at once', async () => {
  const file = newLockFile()
  const code = `
    const { withLock } = await import(${JSON.stringify(new URL('home-lock.ts', import.meta.url).href)})
    await withLock(${JSON.stringify(file)}, async () => {
      console.log('held')
      await new Promise((resolve) => setTimeout(resolve, 60_000))
    })`
  const holder = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
  await new Promise((resolve) => holder.stdout.once('data', resolve))
  await expect(withLock(file, async () => 'mine', 100)).rejects.toThrow('has held')
  holder.kill('SIGKILL')
  await new Promise((resolve) => holder.once('exit', resolve))
  expect(await withLock(file, async () => 'mine', 1_000)).toBe('mine')
})
