// `background removal`: a cut-out has a real alpha channel, with something left and something gone.
import type { GateKind } from '@fabrique/engine'
import sharp from 'sharp'
import { IMAGE_PIXELS_MAX } from '../inspect.ts'

/** Judges the steps whose model makes mattes. */
export const backgroundRemoval: GateKind = {
  type: 'background-removal',
  name: 'background removal',
  stands: 'after-step',
  applies: (_, model) => model?.capability === 'matte',
  async judge({ artifacts }) {
    const [first] = artifacts
    if (first === undefined) return { passed: false, detail: 'there is no picture' }
    const picture = sharp(first.bytes, { limitInputPixels: IMAGE_PIXELS_MAX })
    const { hasAlpha } = await picture.metadata()
    if (!hasAlpha) return { passed: false, detail: 'the picture has no transparency' }
    const alpha = (await picture.stats()).channels.at(-1)
    if (alpha === undefined || alpha.min === 255) return { passed: false, detail: 'nothing of the background is gone' }
    return alpha.max === 0 ? { passed: false, detail: 'nothing is left of the picture' } : { passed: true }
  },
}
