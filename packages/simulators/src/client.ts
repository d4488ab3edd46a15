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
import { isJsonObject, objectOf, textOf } from '@fabrique/schema'
import type { AgentTurn, ToolCall } from '@fabrique/steps'
import { ffmpegMissing } from '@fabrique/steps/ffmpeg'
import { cutOut } from './cut-out.ts'
import { filmOf } from './film.ts'
import { drawPicture } from './picture.ts'
import { speak } from './speak.ts'
import { isMarkedUnsafe, writeText } from './write-text.ts'

const SIDE_DEFAULT_PX = 1024

type Make = (request: ProviderRequest) => Promise<Pick<ProviderAnswer, 'output' | 'files'>>

const MAKERS: Partial<Record<Capability, Make>> = {
  async image({ request, seed = 0 }) {
    const params = objectOf(request.params)
    const [widthPx, heightPx] = sizeOf(params.size)
    const background = params.background === 'transparent' ? 'transparent' : 'auto'
    const prompt = textOf(request.prompt)
    const picture = { prompt, widthPx, heightPx, background, seed: Number(params.seed ?? seed) } as const
    return fileOf('image', 'image/png', await drawPicture(picture))
  },
  async matte({ files }) {
    const [input] = Object.values(files)
    if (input === undefined) throw new StepFailure('invalid', 'There is no picture to cut out.')
    return fileOf('image', 'image/png', await cutOut(Buffer.from(input.bytes)))
  },
  async text({ request, seed = 0 }) {
    const schema = isJsonObject(request.outputSchema) ? request.outputSchema : undefined
    const system = typeof request.system === 'string' ? { system: request.system } : {}
    const asked = { prompt: textOf(request.prompt), seed, ...system }
    const { tools = [], turns = [], maxTurns = Infinity } = request as Partial<AgentTurn>
    // An agent's twin tries each of its tools once, a turn each, and keeps the last turn for its answer.
    const next = turns.length + 1 < maxTurns ? tools[turns.length] : undefined
    if (next !== undefined) {
      const { json } = writeText({ ...asked, outputSchema: next.parameters })
      const call: ToolCall = { id: `call-${turns.length + 1}`, name: next.name, arguments: json ?? null }
      return { output: { text: '', calls: [call], items: [{ type: 'simulated_call', ...call }] }, files: [] }
    }
    const { text } = writeText({ ...asked, ...(schema === undefined ? {} : { outputSchema: schema }) })
    return { output: { text, ...(tools.length === 0 ? {} : { calls: [], items: [] }) }, files: [] }
  },
  async moderation({ request }) {
    const flagged = isMarkedUnsafe(textOf(request.content ?? request.prompt))
    return { output: { flagged, categories: flagged ? ['marked as unsafe'] : [] }, files: [] }
  },
  async speech({ request, seed = 0 }) {
    const args = objectOf(request.args)
    const voice = typeof args.voice === 'string' ? { voice: args.voice } : {}
    return fileOf('speech', 'audio/wav', speak({ text: textOf(args.text), seed, ...voice }))
  },
  async video(request) {
    return fileOf('video', 'video/mp4', await filmOf(request))
  },
}

function fileOf(name: string, mimeType: string, bytes: Buffer): Awaited<ReturnType<Make>> {
  return { output: {}, files: [{ name, mimeType, bytes }] }
}

/** Why calls of this capability cannot be simulated on this machine, with the remedy; null when they can. */
export function simulationMissing(capability: Capability): string | null {
  if (MAKERS[capability] === undefined)
    return 'there is no simulation of models of this kind: set the key of its provider.'
  return capability === 'video' ? ffmpegMissing() : null
}

/** `1024x1536` as two numbers; anything else is a square of the default size. */
function sizeOf(size: unknown): [number, number] {
  const [, width, height] = /^(\d{3,4})x(\d{3,4})$/.exec(textOf(size)) ?? []
  const within = (side: string | undefined) => Math.min(Math.max(Number(side ?? SIDE_DEFAULT_PX), 256), 2048)
  return [within(width), within(height)]
}

/** The twin of one provider. It reports what the provider was expected to use for this answer, so that prices work alike. */
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
      try {
        const made = await make(request)
        const given = Object.values(request.files).map(({ record }) => record)
        const outlook = { at: 'expected', answer: textOf(made.output.text), files: given } as const
        return { ...made, usage: provider.expectedUsage(request.model, request.request, outlook), basis: 'expected' }
      } catch (error) {
        if (!request.signal.aborted || StepFailure.is(error)) throw error
        throw new StepFailure('timeout', 'The call was stopped.', { cause: error })
      }
    },
  }
}
