// What a provider's file exports: what it offers, how it is configured, how it is reached.
import { type InputFile, type Provider, type ProviderClient, StepFailure } from '@fabrique/engine'
import { isJsonObject, type JsonObject, textOf, type Usage } from '@fabrique/schema'

/** About half a minute. */
const EXPECTED_SPEECH_CHARACTERS = 450

export interface ProviderSettings {
  apiKey: string | undefined
  /** The provider's public address when undefined. */
  baseUrl: string | undefined
}

/** One provider, whole: registered by one line in `../index.ts`. */
export interface ProviderAdapter {
  provider: Provider
  /** Makes a live client; the SDK is imported on first use. */
  connect(settings: ProviderSettings & { apiKey: string }): ProviderClient
}

/** What speaking a text is expected to use; `usual` is what the price list says of a request that says nothing. */
export function expectedSpeech({ args }: JsonObject, usual?: JsonObject): Usage[] {
  const text = textOf(isJsonObject(args) ? args.text : '')
  // Before the text is written, a placeholder stands for it.
  const isOpen = text === '' || /^\{[^{}]*\}$/.test(text)
  return [
    { unit: 'character', quantity: isOpen ? Number(usual?.characters ?? EXPECTED_SPEECH_CHARACTERS) : text.length },
  ]
}

/** A connection that broke: nothing was sent if it was refused, else nobody can say what the provider made of it. */
export function connectionFailure(provider: string, error: unknown): StepFailure {
  const codes = causes(error).map((cause) => (cause as { code?: string }).code ?? '')
  const unsent = codes.some((code) =>
    /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|UND_ERR_CONNECT_TIMEOUT)$/.test(code),
  )
  return new StepFailure('server', `${provider} could not be reached, or the connection broke.`, {
    billed: unsent ? 'no' : 'unknown',
    cause: error,
  })
}

function causes(error: unknown): unknown[] {
  const chain: unknown[] = []
  for (let at = error; at instanceof Error && chain.length < 8; at = at.cause) chain.push(at)
  return chain
}

/** A file as providers take it in a request: no second service, nothing left behind. */
export function dataUrl({ record, bytes }: InputFile): string {
  return `data:${record.mimeType};base64,${Buffer.from(bytes).toString('base64')}`
}
