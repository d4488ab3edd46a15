// `provider execution`: a step that called a provider has an output of the kind its model promises.
import type { GateKind } from '@fabrique/engine'
import { valueAt } from '@fabrique/engine'

/** Files have been decoded by the time they are stored; here the right kind of output must be there at all. */
export const providerExecution: GateKind = {
  type: 'provider-execution',
  name: 'provider execution',
  stands: 'after-step',
  applies: (_, model) => model !== null,
  async judge({ model, artifacts, output }) {
    if (model?.capability === 'text') {
      const text = valueAt(output, ['text'])
      return typeof text === 'string' && text.trim() !== ''
        ? { passed: true }
        : { passed: false, detail: 'the model answered no text' }
    }
    const wanted = model?.capability === 'speech' ? 'audio/' : model?.capability === 'video' ? 'video/' : 'image/'
    if (artifacts.length === 0) return { passed: false, detail: 'the provider answered no file' }
    const types = [...new Set(artifacts.map(({ record }) => record.mimeType))]
    return model?.capability === 'media' || types.some((type) => type.startsWith(wanted))
      ? { passed: true }
      : { passed: false, detail: `the provider answered ${types.join(', ')}, and must answer ${wanted}…` }
  },
}
