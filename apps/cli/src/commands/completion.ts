// `fab-workflow completion SHELL`: a script that makes the shell complete commands, options and files.
import { Argument } from 'commander'
import type { Command } from '../command.ts'
import { completionScript, SHELLS } from '../completion-script.ts'

export const completion: Command = (program, act) => {
  program
    .command('completion')
    .description('a completion script: bash, zsh or fish')
    .addArgument(new Argument('<shell>').choices(SHELLS))
    .addHelpText(
      'after',
      '\nbash: source <(fab-workflow completion bash)\nzsh:  source <(fab-workflow completion zsh)\nfish: fab-workflow completion fish | source',
    )
    .action(
      act(async (context, _options, shell: (typeof SHELLS)[number]) => {
        context.print(completionScript(shell, program))
      }),
    )
}
