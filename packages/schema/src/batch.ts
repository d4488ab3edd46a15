// What a batch answers to each of its lines.
import { z } from 'zod'
import { ProblemDocument } from './error.ts'

const Line = z.object({ line: z.int().describe('Counts from 1.') })

export const BatchLine = z
  .union([
    Line.extend({
      run_id: z.string(),
      replayed: z.literal(true).exactOptional().describe('The run was accepted before, under the same key.'),
    }),
    Line.extend({ error: ProblemDocument }),
  ])
  .meta({ id: 'BatchLine', description: 'What became of a line: a run, or why there is none.' })
export type BatchLine = z.infer<typeof BatchLine>
