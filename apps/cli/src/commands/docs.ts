// `fab-workflow docs ID`: a workflow's reference page, made from its row.
import type { Command } from '../command.ts'
import { EXIT } from '../exit.ts'

export const docs: Command = (program, act) => {
  program
    .command('docs')
    .description("a workflow's reference page, as Markdown: inputs, output, steps, gates, cost, examples")
    .argument('<workflow>')
    .action(
      act(async (context, _options, id = '') => {
        const { findWorkflow } = await import('../find-workflow.ts')
        const document = await findWorkflow(await context.backend(), id)
        const { workflowPage } = await import('@fabrique/schema')
        context.print(context.json ? JSON.stringify(document, null, 2) : workflowPage(document).trimEnd())
        return EXIT.done
      }),
    )
}
