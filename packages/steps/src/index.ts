// The catalog: every step kind, tool, provider and gate, one file and one line each.
import { type Catalog, createCatalog, type Providers } from '@fabrique/engine'
import { backgroundRemoval } from './gates/background-removal.ts'
import { promptResolution } from './gates/prompt-resolution.ts'
import { providerExecution } from './gates/provider-execution.ts'
import { hitlReview, review } from './gates/review.ts'
import { storageMetadata } from './gates/storage-metadata.ts'
import { image } from './kinds/image.ts'
import { llm } from './kinds/llm.ts'
import { tool } from './kinds/tool.ts'
import type { ProviderAdapter } from './providers/adapter.ts'
import { fal } from './providers/fal.ts'
import { openai } from './providers/openai.ts'
import { createProvidersFrom, type ProviderConfig } from './providers.ts'
import { imageConvert } from './tools/image-convert.ts'
import { valuePass } from './tools/value-pass.ts'

const PROVIDERS: readonly ProviderAdapter[] = [openai, fal]

/** What this version of the engine can do; API and workers use the same. */
export function createStandardCatalog(): Catalog {
  return createCatalog({
    kinds: [llm, image, tool],
    tools: [imageConvert, valuePass],
    providers: PROVIDERS.map(({ provider }) => provider),
    gates: [promptResolution, providerExecution, backgroundRemoval, storageMetadata, hitlReview, review],
  })
}

/** The clients of the catalog's providers, by this deployment's mode and keys. */
export function createProviders(config: ProviderConfig): Providers {
  return createProvidersFrom(PROVIDERS, config)
}

export { inspect } from './inspect.ts'
export { createProviderMode, type ProviderConfig } from './providers.ts'
