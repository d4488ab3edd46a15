// Workflow sets, locks, scaffolds and the commands on runs, as a user starts them: here and on a server.
// The server and the local runs share one record, so that both know the workflows made for this test.
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { RunResource } from '@fabrique/schema'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { checkout, type Fabrique, startFabrique } from './harness.ts'

const RUN_ID = /\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b/
const folder = mkdtempSync(join(tmpdir(), 'fabrique-cli-sets-'))

let fabrique: Fabrique

/** A workflow that takes `field` and gives a text, by an alias if it has one. */
function writer(id: string, field: string, aliases?: Record<string, string>): object {
  return {
    id,
    name: id,
    artifactClass: 'knowledge',
    version: '2026.11.01',
    schemaVersion: 'workflow-schema-v1',
    cadence: 'On demand',
    visibility: 'public',
    intakeSchema: {
      type: 'object',
      required: [field],
      properties: {
        [field]: { type: 'string', minLength: 2, maxLength: 8000 },
        count: { type: 'integer', minimum: 1, maximum: 20 },
        tone: { type: 'string' },
      },
    },
    providers: {},
    runtimeSteps: [
      { id: 'write', kind: 'llm', model: 'openai/gpt-6-luna', promptTemplate: `About {intake.${field}}.` },
    ],
    gates: ['prompt resolution', 'provider execution'],
    budgetPolicy: 'little',
    artifactSchema: { artifactType: 'text', files: [], metadata: {} },
    ...(aliases === undefined ? {} : { outputAliases: aliases }),
  }
}

/** Two texts, and a review of each. */
const HELD = {
  ...writer('words/held', 'topic'),
  runtimeSteps: ['one', 'two'].map((id) => ({
    id,
    kind: 'llm',
    model: 'openai/gpt-6-luna',
    promptTemplate: `About {intake.topic}, text ${id}.`,
  })),
  gates: ['one', 'two'].map((step) => ({ id: `read-${step}`, name: `Read ${step}`, type: 'review', after: step })),
}

beforeAll(async () => {
  fabrique = await startFabrique()
  for (const body of [
    HELD,
    writer('words/make', 'topic', { text: 'steps.write.output.text' }),
    writer('words/use', 'words'),
  ]) {
    const { status, text } = await fabrique.request('/v1/workflows', { body })
    expect(status, text).toBe(201)
  }
})

afterAll(async () => {
  await fabrique?.stop()
  rmSync(folder, { recursive: true, force: true })
})

interface Outcome {
  code: number | null
  stdout: string
  stderr: string
}

/** Runs the program in the test's folder; `remote` adds the server and a key. */
function fab(args: string[], { remote = false }: { remote?: boolean } = {}): Promise<Outcome> {
  const child = spawn(
    process.execPath,
    [join(checkout, 'apps/cli/bin.mjs'), ...args, ...(remote ? ['--api-url', fabrique.url] : [])],
    {
      cwd: folder,
      env: {
        PATH: process.env.PATH,
        FABRIQUE_HOME: fabrique.home,
        DATABASE_URL: fabrique.databaseUrl,
        FABRIQUE_API_KEY: fabrique.adminKey,
        FABRIQUE_PROVIDERS: 'simulated',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, stdout, stderr }))
  })
}

function file(name: string, text: string): string {
  writeFileSync(join(folder, name), text)
  return name
}

async function runCount(): Promise<number> {
  const [row] = await fabrique.query<{ n: number }>('select count(*)::int as n from runs')
  return row?.n ?? 0
}

const CHAIN = `set: chain
shared_input: { tone: dry, count: 2 }
runs:
  - name: use
    workflow: words/use
    inputs_from: { words: make.0.text }
  - name: make
    workflow: words/make
    input: { topic: foxes, count: 4 }
  - name: other
    workflow: words/make
    input: { topic: bears }
  - name: last
    workflow: words/use
    inputs_from: { words: use.write.text }
`

interface Kept {
  run_id: string
  status: string
  outputs: { variant_index: number; output: Record<string, unknown> }[]
}

function kept(output: string, stage: string): Kept {
  return JSON.parse(readFileSync(join(folder, output, stage, 'outputs.json'), 'utf8')) as Kept
}

describe('--run-set', { timeout: 120_000 }, () => {
  it.each([{ remote: false }, { remote: true }])(
    'feeds outputs into inputs, runs only what a stage needs, and keeps what it made (remote: $remote)',
    async ({ remote }) => {
      const set = file('chain.yaml', CHAIN)
      const output = `out-${remote}`
      const { code, stderr } = await fab(['--run-set', set, 'last', '-o', output], { remote })
      expect(`${code} ${stderr}`).toMatch(/^0 /)
      expect(readdirSync(join(folder, output)).sort()).toEqual(['last', 'make', 'use'])

      const made = kept(output, 'make').outputs[0]?.output.text
      const use = await fabrique.run(kept(output, 'use').run_id)
      expect(use.input).toEqual({ tone: 'dry', count: 2, words: made })
      expect(use.metadata).toEqual({ workflow_set: 'chain', workflow_set_stage: 'use' })
      const text = (kept(output, 'use').outputs[0]?.output.write as { text: string } | undefined)?.text
      expect(text).toEqual(expect.any(String))
      expect((await fabrique.run(kept(output, 'last').run_id)).input.words).toBe(text)
      expect((await fabrique.run(kept(output, 'make').run_id)).input).toEqual({ tone: 'dry', count: 4, topic: 'foxes' })

      // The same folder again: what is there is not run again, by the name of a stage or by a run's id.
      const runId = kept(output, 'use').run_id
      for (const prior of ['use', runId, `use=${runId}`]) {
        const before = await runCount()
        const args = ['--run-set', set, 'last', '-o', output, '--use-prior-outputs', prior]
        expect(await fab(args, { remote }), prior).toMatchObject({ code: 0 })
        expect(await runCount(), prior).toBe(before + 1)
        expect((await fabrique.run(kept(output, 'last').run_id)).input.words).toBe(text)
      }
    },
  )

  it('reads the same set in TOML and JSON, and runs stages together with --parallel', async () => {
    const json = { set: 'two', runs: [{ name: 'a', workflow: 'words/make', input: { topic: 'one' } }] }
    const toml = '[[runs]]\nname = "b"\nworkflow = "words/use"\ninputs_from = { words = "a.text" }\n'
    const first = await fab(['--run-set', file('two.json', JSON.stringify(json)), '--parallel', '--json'])
    expect(first.code).toBe(0)
    const { runs } = JSON.parse(first.stdout) as { runs: { stage: string; run_id: string; status: string }[] }
    expect(runs).toMatchObject([{ stage: 'a', status: 'completed' }])
    const set = file('two.toml', `set = "two"\n\n[[runs]]\nname = "a"\nworkflow = "words/make"\n\n${toml}`)
    const second = await fab(['--run-set', set, 'b', '--use-prior-outputs', `a=${runs[0]?.run_id}`, '--json'])
    expect(second.code).toBe(0)
    expect(JSON.parse(second.stdout)).toMatchObject({ runs: [{ stage: 'b', status: 'completed' }] })
  })

  it('lists stages without a backend, and plans without a run', async () => {
    const set = file('chain.yaml', CHAIN)
    const listed = await fab(['--run-set', set, '--list'])
    expect(listed).toMatchObject({ code: 0, stderr: '' })
    expect(listed.stdout.split('\n').map((line) => line.split(/ +/))).toEqual([
      ['use', 'words/use', 'needs', 'make'],
      ['make', 'words/make'],
      ['other', 'words/make'],
      ['last', 'words/use', 'needs', 'use'],
      [''],
    ])
    const before = await runCount()
    const planned = await fab(['--run-set', set, 'last', '--dry-run', '--json'])
    expect(planned.code).toBe(0)
    expect(JSON.parse(planned.stdout)).toMatchObject({
      set: 'chain',
      runs: [
        { name: 'make', workflow_version: '2026.11.01', input: { topic: 'foxes', count: 4, tone: 'dry' } },
        { name: 'use', needs: ['make'], inputs_from: { words: 'make.0.text' } },
        { name: 'last', needs: ['use'] },
      ],
      estimate: { currency: 'USD', expected: expect.any(Number) },
    })
    expect(await runCount()).toBe(before)
  })

  it('names every fault at its place with 2, and starts nothing', async () => {
    const before = await runCount()
    const set = file(
      'faulty.yaml',
      `set: faulty
runs:
  - name: a
    workflow: words/mkae
    input: { topic: foxes }
  - name: b
    workflow: words/make
    input: { topic: foxes, count: 44 }
  - name: c
    workflow: words/use
    inputs_from: { words: b.txt }
  - name: d
    workflow: words/use
    inputs_from: { words: b.3.text }
`,
    )
    const { code, stderr } = await fab(['--run-set', set])
    expect(code).toBe(2)
    expect(stderr.split('\n').filter((line) => line.startsWith('faulty'))).toEqual([
      expect.stringMatching(/^faulty.yaml:4:5: .*"words\/mkae".*Did you mean "words\/make"\?$/),
      expect.stringMatching(/^faulty.yaml:8:28: .*count.*20/),
      expect.stringMatching(/^faulty.yaml:11:20: .*"b.txt".*did you mean "text"\?$/),
      expect.stringMatching(/^faulty.yaml:14:20: .*1 variant/),
    ])
    const circle = file(
      'circle.yaml',
      `set: circle
runs:
  - { name: a, workflow: words/use, inputs_from: { words: b.text } }
  - { name: b, workflow: words/use, inputs_from: { words: a.text } }
`,
    )
    expect((await fab(['--run-set', circle])).stderr).toMatch(/^circle.yaml:3:37: .*waits for itself$/m)
    const misnamed = await fab(['--run-set', file('chain.yaml', CHAIN), 'lats'])
    expect(misnamed).toMatchObject({ code: 2, stdout: '' })
    expect(misnamed.stderr).toContain('did you mean "last"?')
    const none = await fab(['--run-set', 'chain.yaml', '-o', 'nowhere', '--use-prior-outputs', 'make'])
    expect(none).toMatchObject({ code: 2, stdout: '' })
    expect(await runCount()).toBe(before)
    expect(existsSync(join(folder, 'nowhere'))).toBe(false)
  })

  it('runs a stage that has the name of a command', async () => {
    const set = file('named.yaml', 'set: s\nruns: [{ name: status, workflow: words/make, input: { topic: foxes } }]\n')
    const { code, stdout } = await fab(['--run-set', set, 'status', '--json'])
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ runs: [{ stage: 'status' }] })
  })

  it('stops at a review with 6, and goes on from the folder when it was approved', async () => {
    const set = file(
      'gated.yaml',
      `set: gated
runs:
  - { name: fox, workflow: generate-clip-art-asset, input: { prompt: a fox } }
  - { name: words, workflow: words/use, inputs_from: { words: fox.image.mime_type } }
`,
    )
    const first = await fab(['--run-set', set, '-o', 'gated'])
    expect(first.code).toBe(6)
    const runId = kept('gated', 'fox').run_id
    expect(first.stderr).toContain(`fab-workflow approve ${runId}`)
    expect(first.stderr).toContain(`--run-set ${set} -o gated --use-prior-outputs fox`)
    expect(existsSync(join(folder, 'gated/words'))).toBe(false)
    expect(readdirSync(join(folder, 'gated/fox')).sort()).toEqual(['outputs.json', 'processed.webp', 'raw.webp'])

    expect((await fab(['--run-set', set, '-o', 'gated', '--use-prior-outputs', 'fox'])).code).toBe(2)
    expect((await fab(['approve', runId])).code).toBe(0)
    expect((await fab(['--run-set', set, '-o', 'gated', '--use-prior-outputs', 'fox'])).code).toBe(0)
    expect((await fabrique.run(kept('gated', 'words').run_id)).input.words).toBe('image/webp')
    expect(kept('gated', 'fox').status).toBe('completed')
  })

  it('refuses to write into a folder that holds anything else', async () => {
    const set = file('chain.yaml', CHAIN)
    mkdirSync(join(folder, 'taken/make'), { recursive: true })
    writeFileSync(join(folder, 'taken/make/mine.txt'), 'mine')
    const before = await runCount()
    expect(await fab(['--run-set', set, '-o', 'taken'])).toMatchObject({ code: 2, stdout: '' })
    expect(await runCount()).toBe(before)
  })
})

describe('the commands on a run', { timeout: 120_000 }, () => {
  it.each([{ remote: false }, { remote: true }])(
    'pull files that are what their hashes say (remote: $remote)',
    async ({ remote }) => {
      const { id } = await fabrique.submit()
      await fabrique.finish(id)
      const output = `pulled-${remote}`
      const first = await fab(['pull', id, '-d', output], { remote })
      expect(first).toMatchObject({ code: 0, stdout: `${output}/processed.webp\n${output}/raw.webp\n` })
      expect(readdirSync(join(folder, output)).sort()).toEqual(['processed.webp', 'raw.webp'])

      const raw = join(folder, output, 'raw.webp')
      const bytes = readFileSync(raw)
      expect((await fab(['pull', id, '-d', output], { remote })).code).toBe(0)
      writeFileSync(raw, 'mine')
      const refused = await fab(['pull', id, '-d', output], { remote })
      expect(refused).toMatchObject({ code: 2, stdout: '' })
      expect(refused.stderr).toContain(`${output}/raw.webp: `)
      expect(readFileSync(raw, 'utf8')).toBe('mine')
      expect((await fab(['pull', id, '-d', output, '--force'], { remote })).code).toBe(0)
      expect(readFileSync(raw).equals(bytes)).toBe(true)
    },
  )

  it.each([{ remote: false }, { remote: true }])(
    'show its events, and follow them to the end (remote: $remote)',
    async ({ remote }) => {
      const { id } = await fabrique.submit({ workflow: 'words/make', input: { topic: 'foxes' } })
      const { code, stdout } = await fab(['events', id, '-f', '--json'], { remote })
      expect(code).toBe(0)
      const events = stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { seq: number; kind: string })
      expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1))
      expect(events.at(-1)?.kind).toBe('workflow.run.completed')
      const tail = await fab(['events', id, '--after', String(events.length - 1)], { remote })
      expect(tail.stdout).toMatch(/^\S+ {2}run\.completed.*\n$/)
    },
  )

  it.each([{ remote: false }, { remote: true }])(
    'approve every review that is open, in every slot, or only the one that is named (remote: $remote)',
    async ({ remote }) => {
      const spec = file('held.yaml', 'workflow: words/held\ninput: { topic: foxes, variants: 2 }\n')
      const first = await fab(['--from-file', spec, ...(remote ? ['--watch'] : [])], { remote })
      expect(first.code, first.stderr).toBe(6)
      expect(first.stderr).toMatch(/^4 reviews are open/m)
      const id = RUN_ID.exec(first.stderr)?.[0] ?? ''

      const misnamed = await fab(['approve', id, '--gate', 'read-onw'], { remote })
      expect(misnamed).toMatchObject({ code: 2, stdout: '' })
      expect(misnamed.stderr).toContain('did you mean "read-one"?')
      const slot = (await fabrique.run(id)).outputs[0]?.run_id ?? ''
      const single = await fab(['approve', slot, '--gate', 'read-one'], { remote })
      expect(single.code, single.stderr).toBe(6)
      expect(single.stderr).toContain('Approved 1 of 2 open reviews:')

      const rest = await fab(['approve', id], { remote })
      expect(rest.code, rest.stderr).toBe(0)
      expect(rest.stderr).toContain('Approved 3 of 3 open reviews:')
      expect((await fabrique.run(id)).outputs.map(({ status }) => status)).toEqual(['completed', 'completed'])
      expect(await fab(['approve', id], { remote })).toMatchObject({ code: 2, stdout: '' })
    },
  )

  it.each([{ remote: false }, { remote: true }])(
    'retry a run as a new one, which pays for nothing again (remote: $remote)',
    async ({ remote }) => {
      const spec = file('held.yaml', 'workflow: words/held\ninput: { topic: foxes }\n')
      const watch = remote ? ['--watch'] : []
      const first = await fab(['--from-file', spec, ...watch], { remote })
      const id = RUN_ID.exec(first.stderr)?.[0] ?? ''
      expect(await fab(['retry', id, ...watch], { remote }), 'it has not ended').toMatchObject({ code: 2 })
      expect(await fab(['cancel', id], { remote })).toMatchObject({ code: 0, stdout: 'cancelled\n' })
      const again = await fab(['retry', id, ...watch], { remote })
      expect(again.code, again.stderr).toBe(6)
      const newId = RUN_ID.exec(again.stderr)?.[0] ?? ''
      expect(newId).not.toBe(id)
      expect((await fab(['approve', newId], { remote })).code).toBe(0)
      expect(await fabrique.run(newId)).toMatchObject({ status: 'completed', retry_of: id })
      expect(await fabrique.ledger(newId)).toEqual([])
      expect((await fabrique.run(id)).status).toBe('cancelled')
    },
  )

  it('watch a run on a server to its end, or give up after --timeout with 7 while it goes on', async () => {
    const spec = file('fox.yaml', 'workflow: generate-clip-art-asset\ninput: { prompt: a fox }\n')
    const watched = await fab(['--from-file', spec, '--watch'], { remote: true })
    expect(watched.code).toBe(6)
    const id = RUN_ID.exec(watched.stderr)?.[0] ?? ''
    expect(watched.stderr).toContain(`fab-workflow approve ${id} --api-url ${fabrique.url}`)
    const late = await fab(['events', id, '-f', '--timeout', '300ms'], { remote: true })
    expect(late.code).toBe(7)
    expect((await fabrique.run(id)).status).toBe('waiting')
    expect((await fab(['--timeout', 'soon', 'list'])).code).toBe(2)
  })
})

describe('a spec', { timeout: 120_000 }, () => {
  it('is scaffolded into a new file that runs as it is, in every format', async () => {
    for (const format of ['yaml', 'toml', 'json']) {
      const path = `made.${format}`
      expect(await fab(['--scaffold', 'words/make', '-o', path]), format).toMatchObject({ code: 0, stdout: '' })
      expect(await fab(['--from-file', path]), format).toMatchObject({ code: 0 })
      expect((await fab(['--scaffold', 'words/make', '-o', path])).code, format).toBe(2)
    }
    const shown = await fab(['--scaffold', 'words/make', '--show-output', '--no-optional'])
    expect(shown.stdout).toContain('text: steps.write.output.text')
    expect(shown.stdout).not.toContain('count')
    const misspelt = await fab(['--scaffold', 'words/maek'], { remote: true })
    expect(misspelt).toMatchObject({ code: 2, stdout: '' })
    expect(misspelt.stderr).toContain('Did you mean "words/make"?')
  })

  it('is locked to what it runs: --lock keeps the version, --frozen names what changed', async () => {
    const spec = file('locked.yaml', 'workflow: words/make\ninput: { topic: foxes }\n')
    const missing = await fab(['--from-file', spec, '--frozen'])
    expect(missing).toMatchObject({ code: 2, stdout: '' })
    expect((await fab(['--from-file', spec, '--lock'])).code).toBe(0)
    expect((await fab(['--from-file', spec, '--frozen'])).code).toBe(0)
    expect((await fab(['--from-file', spec, '--frozen'], { remote: true })).code).toBe(0)
    expect(readFileSync(join(folder, 'locked.yaml.lock'), 'utf8')).not.toContain('About')

    const patch = {
      version: '2026.11.02',
      runtimeSteps: [
        { id: 'write', kind: 'llm', model: 'openai/gpt-6.1-terra', promptTemplate: 'Only about {intake.topic}.' },
      ],
    }
    expect((await fabrique.request('/v1/workflows/words/make', { method: 'PATCH', body: patch })).status).toBe(200)
    const before = await runCount()
    const frozen = await fab(['--from-file', spec, '--frozen'])
    expect(frozen).toMatchObject({ code: 2, stdout: '' })
    const changes = frozen.stderr.split('\n').filter((line) => line.startsWith('locked.yaml.lock:'))
    expect(changes.map((line) => line.replace(/^\S+ /, ''))).toEqual([
      'version was 2026.11.01, is 2026.11.02',
      expect.stringMatching(/^definition_sha256 was [0-9a-f]{64}, is [0-9a-f]{64}$/),
      'models.write was openai/gpt-6-luna, is openai/gpt-6.1-terra',
      expect.stringMatching(/^prompts_sha256.write was [0-9a-f]{64}, is [0-9a-f]{64}$/),
    ])
    expect(changes[0]).toMatch(/^locked.yaml.lock:3:1: /)
    expect(await runCount()).toBe(before)

    const { code, stdout } = await fab(['--from-file', spec, '--lock', '--json'])
    expect(code).toBe(0)
    expect(JSON.parse(stdout) as RunResource).toMatchObject({ workflow_version: '2026.11.01' })
    const unlocked = await fab(['--from-file', spec, '--json'])
    expect(JSON.parse(unlocked.stdout) as RunResource).toMatchObject({ workflow_version: '2026.11.02' })
  })

  it.each([{ remote: false }, { remote: true }])(
    'is told which workflow of its bundle is misspelt, and how it is spelt (remote: $remote)',
    async ({ remote }) => {
      const entries = ['words/make', 'words/maek'].map((id) => `  - { workflow: ${id}, input: { topic: foxes } }\n`)
      const spec = file('bundle.yaml', `workflow: bundle/ad-hoc\nbundle:\n${entries.join('')}`)
      const { code, stderr } = await fab(['--from-file', spec], { remote })
      expect(code).toBe(2)
      expect(stderr).toMatch(/^bundle.yaml:4:7: .*"words\/maek".* Did you mean "words\/make"\?$/m)
    },
  )

  it('has a page for its workflow', async () => {
    const { code, stdout } = await fab(['docs', 'words/use'], { remote: true })
    expect(code).toBe(0)
    expect(stdout).toContain('| `words` | string | required |')
  })
})
