import { execFileSync } from 'node:child_process'
import { Command } from 'commander'
import { describe, expect, it } from 'vitest'
import type { Act } from './command.ts'
import { commands, root } from './commands/index.ts'
import { completionScript, SHELLS } from './completion-script.ts'

const act: Act = () => async () => {}
const program = new Command('fab-workflow')
for (const command of [root, ...commands]) command(program, act)

/** What bash offers for the last of these words. */
function offers(...words: string[]): string[] {
  const script = `${completionScript('bash', program)}
COMP_WORDS=(fab-workflow ${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length}
_fab_workflow; printf '%s\\n' "\${COMPREPLY[@]}"`
  return execFileSync('bash', ['--norc', '-c', script], { encoding: 'utf8' }).trim().split('\n')
}

describe('a completion script', () => {
  it('knows every command and option, in every shell', () => {
    for (const shell of SHELLS) {
      const script = completionScript(shell, program)
      for (const command of program.commands) expect(script, shell).toContain(command.name())
      for (const flag of ['from-file', 'use-prior-outputs', 'force']) expect(script, shell).toContain(flag)
    }
  })

  it('offers in bash the words that begin with what was typed', () => {
    expect(offers('app')).toEqual(['approve'])
    expect(offers('--run')).toEqual(['--run-set'])
    expect(offers('pull', '--fo')).toContain('--force')
  })
})
