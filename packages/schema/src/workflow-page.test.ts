import { describe, expect, test } from 'vitest'
import { parseDocument } from './document.ts'
import { workflowPage } from './workflow-page.ts'

const DOCUMENT = {
  id: 'words/make',
  name: 'Make *words*',
  description: 'Line one | two.\n# not a heading <script>',
  category: 'words',
  artifactClass: 'knowledge',
  version: '2026.11.01',
  cadence: 'On demand',
  intakeSchema: {
    type: 'object',
    required: ['topic'],
    properties: {
      topic: { type: 'string', minLength: 2, maxLength: 200, description: 'What about | whom.', examples: ['foxes'] },
      count: { type: 'integer', minimum: 1, maximum: 20, default: 5 },
      mood: { enum: ['dry', 'warm'], default: 'dry' },
      tags: { type: 'array', items: { type: 'string' }, maxItems: 3 },
      picture: { type: 'string', format: 'file' },
      output_dir: { type: 'string' },
    },
  },
  providers: {},
  runtimeSteps: [
    { id: 'outline', kind: 'llm', model: 'openai/gpt-5', promptTemplate: 'SECRET {intake.topic}' },
    { id: 'cover', kind: 'image', name: 'Draw', model: 'openai/gpt-image-2', promptTemplate: 'SECRET' },
    { id: 'write', kind: 'llm', model: 'openai/gpt-5', promptTemplate: 'SECRET {steps.outline.output.text}' },
    { id: 'join', kind: 'tool', tool: 'value.pass', needs: ['cover'], args: { value: '{steps.write.output.text}' } },
  ],
  gates: [
    { id: 'hitl-review', name: 'HITL review', type: 'hitl-review' },
    { id: 'short', name: 'Short', type: 'assert', after: 'write' },
  ],
  budgetPolicy: { maxPerRunUsd: 0.5, description: 'Little.' },
  artifactSchema: { artifactType: 'text', files: [{ role: 'words', mimeType: 'text/plain' }], metadata: {} },
  outputAliases: { text: 'steps.write.output.text' },
}

const lines = workflowPage(DOCUMENT, 'templates/words/make.yaml').split('\n')

describe('a reference page', () => {
  test('has every input by name, the universal ones too, with type, default and rules', () => {
    const rows = lines.filter((line) => /^\| `[a-z_]+` \| [a-z[\]]+ \| (required|—|`.*`) \|/.test(line))
    expect(
      rows.map((row) =>
        row
          .split('|')
          .slice(1, 4)
          .map((cell) => cell.trim()),
      ),
    ).toEqual([
      ['`count`', 'integer', '`5`'],
      ['`mood`', 'string', '`dry`'],
      ['`picture`', 'file', '—'],
      ['`regenerate`', 'object', '—'],
      ['`tags`', 'string[]', '—'],
      ['`topic`', 'string', 'required'],
      ['`variants`', 'integer', '`1`'],
    ])
    expect(rows[0]).toContain('1 to 20.')
    expect(rows[1]).toContain('One of `dry`, `warm`.')
    expect(rows[5]).toContain('What about \\| whom. 2 to 200 characters. Such as `foxes`.')
  })

  test('shows the steps in the order that their references give, and no prompt', () => {
    expect(lines).toContain('`outline, cover → write → join`')
    expect(lines).toContain('| `cover` | image | Draw | openai/gpt-image-2 |')
    expect(lines.join('\n')).not.toContain('SECRET')
  })

  test('names output, gates and the budget', () => {
    expect(lines).toContain('| `text` | `steps.write.output.text` |')
    expect(lines).toContain('| `words` | text/plain |')
    expect(lines).toContain('- HITL review')
    expect(lines).toContain('- Short (assert) after `write`')
    expect(lines).toContain('A run may cost at most $0.5.')
  })

  test('has an example that is a run-spec', () => {
    const from = lines.indexOf('```yaml') + 1
    const outcome = parseDocument(lines.slice(from, lines.indexOf('```', from)).join('\n'), 'yaml')
    expect(outcome.ok && outcome.document.value).toEqual({ workflow: 'words/make', input: { topic: 'foxes' } })
  })

  test("takes an author's words for words", () => {
    expect(lines[0]).toBe('# Make \\*words\\*')
    expect(lines).toContain('Line one | two. # not a heading \\<script\\>')
    expect(lines.filter((line) => line.startsWith('# '))).toHaveLength(4)
  })

  test('is written for what an author has saved so far, or an operator may see', () => {
    expect(workflowPage({ id: 'x' })).toContain('No steps yet.')
    const outline = { ...DOCUMENT, runtimeSteps: [{ id: 'write', kind: 'llm' }] }
    expect(workflowPage(outline)).toContain('| `write` | llm |  | — |')
  })
})
