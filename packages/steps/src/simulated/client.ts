// The simulated twin of every provider: the same requests, real files, no network, marked as simulated.
// Hides which offline maker serves which capability; the same request always gives the same bytes.
import {
  type Capability,
  type Provider,
  type ProviderAnswer,
  type ProviderClient,
  type ProviderRequest,
  StepFailure,
} from '@fabrique/engine'
import { isJsonObject, type JsonObject, textOf } from '@fabrique/schema'
import { cutOut } from './cut-out.ts'
import { drawPicture } from './draw-picture.ts'
import { speak } from './speak.ts'
import { writeText } from './write-text.ts'

const SIDE_DEFAULT_PX = 1024

type Make = (request: ProviderRequest) => Promise<Pick<ProviderAnswer, 'output' | 'files'>>

const MAKERS: Partial<Record<Capability, Make>> = {
  async image({ request }) {
    const params = isJsonObject(request.params) ? request.params : {}
    const [widthPx, heightPx] = sizeOf(params.size)
    const background = params.background === 'transparent' ? 'transparent' : 'auto'
    const bytes = await drawPicture({
      prompt: textOf(request.prompt),
      widthPx,
      heightPx,
      background,
      seed: Number(params.seed ?? 0),
    })
    return { output: {}, files: [{ name: 'image', mimeType: 'image/png', bytes }] }
  },
  async matte({ files }) {
    const [input] = Object.values(files)
    if (input === undefined) throw new StepFailure('invalid', 'There is no picture to cut out.')
    return {
      output: {},
      files: [{ name: 'image', mimeType: 'image/png', bytes: await cutOut(Buffer.from(input.bytes)) }],
    }
  },
  async text({ request }) {
    const schema = isJsonObject(request.outputSchema) ? request.outputSchema : undefined
    const system = typeof request.system === 'string' ? { system: request.system } : {}
    const { text } = writeText({
      prompt: textOf(request.prompt),
      ...system,
      ...(schema === undefined ? {} : { outputSchema: schema }),
    })
    return { output: { text }, files: [] }
  },
  async speech({ request }) {
    const args: JsonObject = isJsonObject(request.args) ? request.args : {}
    const voice = typeof args.voice === 'string' ? { voice: args.voice } : {}
    return {
      output: {},
      files: [{ name: 'speech', mimeType: 'audio/wav', bytes: speak({ text: textOf(args.text), ...voice }) }],
    }
  },
}

/** `1024x1536` as two numbers; anything else is a square of the default size. */
function sizeOf(size: unknown): [number, number] {
  const [, width, height] = /^(\d{3,4})x(\d{3,4})$/.exec(textOf(size)) ?? []
  const within = (side: string | undefined) => Math.min(Math.max(Number(side ?? SIDE_DEFAULT_PX), 256), 2048)
  return [within(width), within(height)]
}

/** The twin of one provider. It reports the usage that the provider was expected to, so that prices work alike. */
export function createSimulatedClient(provider: Provider): ProviderClient {
  return {
    async call(request) {
      const make = MAKERS[request.model.capability]
      if (make === undefined) {
        throw new StepFailure(
          'invalid',
          `There is no simulation of "${request.model.name}"; it needs a key of ${provider.name}.`,
        )
      }
      if (request.signal.aborted) throw new StepFailure('timeout', 'The call was stopped before it was made.')
      return { ...(await make(request)), usage: provider.expectedUsage(request.model, request.request) }
    },
  }
}
