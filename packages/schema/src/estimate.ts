// What a run should cost, and what a dry run answers.
import { z } from 'zod'
import { JsonRecord } from './json.ts'

const amounts = {
  low: z.number().describe('If all goes well, in USD.'),
  expected: z.number().describe('Likely, in USD.'),
  high: z
    .number()
    .describe('At most, in USD: the longest answers that schemas and limits allow, and each retry after bad output.'),
}

export const StepEstimate = z.object({
  step: z.string().describe('The step; in a slot `slots/<index>/<step>`.'),
  kind: z.string(),
  plan: z
    .enum(['paid', 'free', 'reused'])
    .describe('`reused`: taken over from an earlier run; `free`: asks no provider.'),
  ...amounts,
})
export type StepEstimate = z.infer<typeof StepEstimate>

export const EstimateResource = z
  .object({ currency: z.literal('USD'), ...amounts, pricing_version: z.string(), steps: z.array(StepEstimate) })
  .meta({ id: 'Estimate' })
export type EstimateResource = z.infer<typeof EstimateResource>

export const DryRun = z
  .object({
    workflow: z.string(),
    workflow_version: z.string(),
    input: JsonRecord.describe('With the defaults of the intake schema.'),
    estimate: EstimateResource,
    warnings: z.array(z.string()),
  })
  .meta({ id: 'DryRun', description: 'What a run would do and cost. Nothing was stored or spent.' })
export type DryRun = z.infer<typeof DryRun>
