// The catalog: every step kind, tool, provider and gate, one file and one line each.
import { type Catalog, createCatalog, type Providers } from '@fabrique/engine'
import { assertion } from './gates/assert.ts'
import { backgroundRemoval } from './gates/background-removal.ts'
import { budget } from './gates/budget.ts'
import { promptResolution } from './gates/prompt-resolution.ts'
import { providerExecution } from './gates/provider-execution.ts'
import { hitlReview, review } from './gates/review.ts'
import { safety } from './gates/safety.ts'
import { storageMetadata } from './gates/storage-metadata.ts'
import { agent } from './kinds/agent.ts'
import { image } from './kinds/image.ts'
import { llm } from './kinds/llm.ts'
import { tool } from './kinds/tool.ts'
import { workflow } from './kinds/workflow.ts'
import type { ProviderAdapter } from './providers/adapter.ts'
import { fal } from './providers/fal.ts'
import { openai } from './providers/openai.ts'
import { createProvidersFrom, type ProviderConfig, type Simulators } from './providers.ts'
import { audioJoin } from './tools/audio-join.ts'
import { documentAssemble } from './tools/document-assemble.ts'
import { imageConvert } from './tools/image-convert.ts'
import { mediaCompose } from './tools/media-compose.ts'
import { textSave } from './tools/text-save.ts'
import { valuePass } from './tools/value-pass.ts'

const PROVIDERS: readonly ProviderAdapter[] = [openai, fal]

/** What this version of the engine can do; API and workers use the same. */
export function createStandardCatalog(): Catalog {
  return createCatalog({
    kinds: [llm, agent, image, tool, workflow],
    tools: [imageConvert, mediaCompose, audioJoin, documentAssemble, textSave, valuePass],
    providers: PROVIDERS.map(({ provider }) => provider),
    gates: [
      promptResolution,
      providerExecution,
      backgroundRemoval,
      storageMetadata,
      hitlReview,
      review,
      assertion,
      budget,
      safety,
    ],
  })
}

/** The clients of the catalog's providers, by this deployment's mode and keys. */
export function createProviders(config: ProviderConfig, simulators: Simulators): Providers {
  return createProvidersFrom(PROVIDERS, config, simulators)
}

export { inspect } from './inspect.ts'
export type { AgentTurn, ToolCall } from './kinds/agent.ts'
export { IMAGE_PIXELS_MAX } from './pictures.ts'
export { createProviderMode, type ProviderConfig } from './providers.ts'
