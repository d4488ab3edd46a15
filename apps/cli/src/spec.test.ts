import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FabriqueError, type JsonObject } from '@fabrique/schema'
import { describe, expect, it, onTestFinished } from 'vitest'
import { mergeLayers, placed, readArgument, readInputFile, readSourceFile } from './spec.ts'

const SCHEMA: JsonObject = {
  type: 'object',
  $defs: { size: { type: 'integer' } },
  properties: {
    slot_offset: { type: 'integer' },
    weight: { type: ['number', 'null'] },
    loud: { type: 'boolean' },
    tags: { type: 'array', items: { type: 'integer' } },
    options: { type: 'object', properties: { size: { $ref: '#/$defs/size' } } },
    title: { type: 'string' },
    either: { anyOf: [{ type: 'integer' }, { type: 'string' }] },
    level: { enum: [1, 2, 3] },
  },
}

function inputOf(...argumentsGiven: string[]): unknown {
  return mergeLayers(argumentsGiven.map((argument) => readArgument(argument, SCHEMA))).input
}

function file(name: string, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'fabrique-cli-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}

describe('--input', () => {
  it.each([
    ['slot_offset=024', { slot_offset: 24 }],
    ['slot_offset=-3', { slot_offset: -3 }],
    ['slot_offset=2.5', { slot_offset: '2.5' }],
    ['slot_offset=many', { slot_offset: 'many' }],
    ['slot_offset=99999999999999999999', { slot_offset: '99999999999999999999' }],
    ['weight=2.50', { weight: 2.5 }],
    ['weight=null', { weight: null }],
    ['loud=true', { loud: true }],
    ['loud=yes', { loud: 'yes' }],
    ['tags=1,02, 3', { tags: [1, 2, 3] }],
    ['tags=[4,"5"]', { tags: [4, '5'] }],
    ['tags=', { tags: [] }],
    ['options={"size":1}', { options: { size: 1 } }],
    ['options.size=007', { options: { size: 7 } }],
    ['title=42', { title: '42' }],
    ['title=a=b:=c', { title: 'a=b:=c' }],
    ['title=', { title: '' }],
    ['either=7', { either: '7' }],
    ['level=2', { level: 2 }],
    ['unknown=7', { unknown: '7' }],
    ['unknown:=7', { unknown: 7 }],
    ['unknown:={"a":[true]}', { unknown: { a: [true] } }],
    ['variants=03', { variants: 3 }],
    ['regenerate.keep=script,voice', { regenerate: { keep: ['script', 'voice'] } }],
  ])('%s becomes what the schema wants, or stays text', (argument, expected) => {
    expect(inputOf(argument)).toEqual(expected)
  })

  it('stays text where there is no schema', () => {
    expect(readArgument('count=3', null).value).toEqual({ input: { count: '3' } })
  })

  it.each(['title', '=x', 'a..b=x', 'title:=nope', '__proto__.x=1', 'a.constructor=1', 'a:={"__proto__":{}}'])(
    '%s is refused with the argument named',
    (argument) => {
      expect(() => readArgument(argument, SCHEMA)).toThrow(`--input ${argument}: `)
      expect(({} as { x?: unknown }).x).toBeUndefined()
    },
  )
})

describe('layers', () => {
  it('merge objects deeply and replace arrays and scalars, the argument over the input file over the file', async () => {
    const base = await readSourceFile(
      file('run.yaml', 'workflow: a\ninput: {title: base, tags: [1, 2], options: {size: 1, colour: red}, loud: true}'),
    )
    const middle = await readInputFile(file('input.toml', 'title = "middle"\ntags = [3]\n[options]\nsize = 2\n'))
    const top = readArgument('options.size=3', SCHEMA)
    expect(mergeLayers([base, middle, top])).toEqual({
      workflow: 'a',
      input: { title: 'middle', tags: [3], options: { size: 3, colour: 'red' }, loud: true },
    })
    expect(base.value.input).toMatchObject({ title: 'base', options: { size: 1 } })
  })

  it('tell each problem where its value was written', async () => {
    const [specPath, inputPath] = [
      file('run.json', '{\n  "workflow": "a",\n  "input": {"title": 1, "loud": 2}\n}'),
      file('input.yaml', '# mine\nloud: 3\n'),
    ]
    const layers = [
      await readSourceFile(specPath),
      await readInputFile(inputPath),
      readArgument('options.size=x', SCHEMA),
    ]
    const error = new FabriqueError('validation-failed', 'no', {
      problems: ['/input/title', '/input/loud', '/input/options/size', '/input/missing'].map((pointer) => ({
        pointer,
        detail: 'is wrong',
      })),
    })
    expect(placed(error, layers).message.split('\n')).toEqual([
      `${specPath}:3:13: input.title is wrong`,
      `${inputPath}:2:1: input.loud is wrong`,
      '--input options.size=x: input.options.size is wrong',
      `${specPath}:3:3: input.missing is wrong`,
    ])
  })

  it('are refused at the line where they cannot be read', async () => {
    const path = file('run.yaml', 'workflow: a\ninput:\n  title: [1\n')
    await expect(readSourceFile(path)).rejects.toThrow(new RegExp(`^${path}:\\d+:\\d+: `))
    await expect(readSourceFile(file('run.txt', 'workflow: a'))).rejects.toThrow('name it .yaml, .yml, .toml or .json')
    await expect(readSourceFile(file('run.yaml', '- a'))).rejects.toThrow(':1:1: ')
    await expect(readSourceFile('missing.yaml')).rejects.toThrow('missing.yaml: there is no such file')
  })
})
