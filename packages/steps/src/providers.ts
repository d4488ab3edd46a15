// Live or simulated: which twin of a provider serves a call, by the mode and the keys of this deployment.
// Hides the clients, which are made on first use.
import type { Capability, Provider, ProviderClient, ProviderMode, Providers } from '@fabrique/engine'
import { StepFailure } from '@fabrique/engine'
import { FabriqueError } from '@fabrique/schema'
import type { ProviderAdapter, ProviderSettings } from './providers/adapter.ts'

export interface ProviderConfig {
  mode: 'live' | 'simulated' | 'auto'
  settings: Record<string, ProviderSettings>
}

/** The offline twins, as `@fabrique/simulators` exports them: handed in, because they are built on this package. */
export interface Simulators {
  /** The twin of one provider: the same requests, real files, no network. */
  createSimulatedClient(provider: Provider): ProviderClient
  /** Why calls of this capability cannot be simulated on this machine, with the remedy; null when they can. */
  simulationMissing(capability: Capability): string | null
}

/** The rule of contract §1: `auto` simulates only what has no key; `live` without a key is an error at submit. */
export function createProviderMode(config: ProviderConfig): ProviderMode {
  return (provider) => {
    if (config.mode === 'simulated') return 'simulated'
    if (config.settings[provider]?.apiKey !== undefined) return 'live'
    if (config.mode === 'auto') return 'simulated'
    throw new FabriqueError(
      'provider-key-missing',
      `The provider "${provider}" has no key here, and providers are live. Set its key, or FABRIQUE_PROVIDERS=auto.`,
    )
  }
}

/** Both twins of every provider, each made when first called. */
export function createProvidersFrom(
  adapters: readonly ProviderAdapter[],
  config: ProviderConfig,
  { createSimulatedClient, simulationMissing }: Simulators,
): Providers {
  const clients = new Map<string, ProviderClient>()

  function clientOf(name: string, simulated: boolean): ProviderClient {
    const key = `${name}:${simulated}`
    const known = clients.get(key)
    if (known !== undefined) return known
    const adapter = adapters.find(({ provider }) => provider.name === name)
    if (adapter === undefined) throw new StepFailure('invalid', `This worker does not know the provider "${name}".`)
    const { apiKey, baseUrl } = config.settings[name] ?? {}
    if (!simulated && apiKey === undefined) {
      throw new StepFailure('invalid', `This worker has no key for "${name}", but the run was accepted with one.`, {
        code: 'provider-key-missing',
      })
    }
    const client =
      simulated || apiKey === undefined ? createSimulatedClient(adapter.provider) : adapter.connect({ apiKey, baseUrl })
    clients.set(key, client)
    return client
  }

  return {
    missing: (model, simulated) => (simulated ? simulationMissing(model.capability) : null),
    async call(simulated, request) {
      return await clientOf(request.model.provider, simulated).call(request)
    },
    async fetch(simulated, model, link, signal) {
      const client = clientOf(model.provider, simulated)
      if (client.fetch === undefined) throw new StepFailure('bad_output', `${model.provider} hands over no links.`)
      return await client.fetch(link, signal)
    },
  }
}
