// `prompt resolution`: before each call every placeholder has a value and the prompt is not empty.
import type { GateKind } from '@fabrique/engine'

/** Judged by the engine while it fills the placeholders; the calls it guards are never sent otherwise. */
export const promptResolution: GateKind = {
  type: 'prompt-resolution',
  name: 'prompt resolution',
  stands: 'before-call',
}
