// `fab-workflow completion SHELL`: a script that makes the shell complete commands, options and files.
import type { Command } from '../command.ts'
import { EXIT } from '../exit.ts'

export const completion: Command = (program, act) => {
  program
    .command('completion')
    .description('a completion script: bash, zsh or fish')
    .argument('<shell>')
    .addHelpText(
      'after',
      '\nbash: source <(fab-workflow completion bash)\nzsh:  source <(fab-workflow completion zsh)\nfish: fab-workflow completion fish | source',
    )
    .action(
      act(async (context, _options, shell = '') => {
        const { completionScript, SHELLS } = await import('../completion-script.ts')
        const script = completionScript(shell, program)
        if (script === undefined) {
          const { InvalidRequest } = await import('../failure.ts')
          throw new InvalidRequest(`"${shell}": completion is written for ${SHELLS.join(', ')}`)
        }
        context.print(script)
        return EXIT.done
      }),
    )
}
