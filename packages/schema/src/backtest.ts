// What a draft would make of past intakes, as the API shows it.
import { z } from 'zod'

const Text = z.string().nullable().describe('Null where there is no such text. Long ones are cut.')

export const BacktestReport = z
  .object({
    workflow: z.string(),
    compared: z.int().describe('Runs that were looked at.'),
    changed: z.int().describe('Runs with at least one text that differs.'),
    fell_to_default: z.int().describe('Runs in which a lookup of the draft has no entry for the intake.'),
    unresolved: z
      .int()
      .describe('Runs in which a required placeholder of the draft has no value: they would fail its gate.'),
    runs: z.array(
      z.object({
        run_id: z.string(),
        changed: z.boolean(),
        differences: z.array(z.object({ step: z.string(), field: z.string(), before: Text, after: Text })),
        defaults: z.array(z.string()).describe('`step.lookup` of each lookup that gives its default.'),
        missing: z.array(z.string()).describe('Placeholders without a value.'),
      }),
    ),
  })
  .meta({ id: 'BacktestReport' })
export type BacktestReport = z.infer<typeof BacktestReport>
