// `fab-workflow docs ID`: a workflow's reference page, made from its row.
import type { Command } from '../command.ts'

export const docs: Command = (program, act) => {
  program
    .command('docs <workflow>')
    .description("a workflow's reference page, as Markdown: inputs, output, steps, gates, cost, examples")
    .action(
      act(async (context, _options, id = '') => {
        const { findWorkflow } = await import('../find-workflow.ts')
        const document = await findWorkflow(await context.backend(), id)
        const { workflowPage } = await import('@fabrique/schema')
        await context.show(document, () => [workflowPage(document).trimEnd()])
      }),
    )
}
