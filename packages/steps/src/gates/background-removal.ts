// `background removal`: a cut-out has a real alpha channel, with something left and something gone.
import type { GateKind } from '@fabrique/engine'
import sharp from 'sharp'
import { IMAGE_PIXELS_MAX, withPixels } from '../pictures.ts'

/** Judges the steps whose model makes mattes. */
export const backgroundRemoval: GateKind = {
  type: 'background-removal',
  name: 'background removal',
  stands: 'after-step',
  applies: (_, model) => model?.capability === 'matte',
  async judge({ artifacts }) {
    const [first] = artifacts
    if (!first?.record.mimeType.startsWith('image/')) return { passed: false, detail: 'there is no picture' }
    const picture = sharp(first.bytes, { limitInputPixels: IMAGE_PIXELS_MAX, failOn: 'error' })
    const { hasAlpha, width, height } = await picture.metadata()
    if (!hasAlpha) return { passed: false, detail: 'the picture has no transparency' }
    const { isOpaque, channels } = await withPixels(width * height, () => picture.stats())
    if (isOpaque) return { passed: false, detail: 'nothing of the background is gone' }
    return channels.at(-1)?.max === 0 ? { passed: false, detail: 'nothing is left of the picture' } : { passed: true }
  },
}
