/**
 * The icon set that pictures are made of: Microsoft's Fluent emoji, flat, as packed by Iconify.
 * It hides the 9 MB file, which is parsed (50 ms) only when the first picture is asked for.
 */
import { createRequire } from 'node:module'

/** The side of an icon's square. */
export const ICON_SIDE = 32

interface IconSet {
  readonly icons: Readonly<Record<string, { readonly body: string; readonly width?: number }>>
}

const require = createRequire(import.meta.url)
let set: IconSet | undefined

/** An icon's SVG elements, coloured; null for a name that the set lacks. */
export function iconBody(name: string): string | null {
  set ??= require('@iconify-json/fluent-emoji-flat/icons.json') as IconSet
  return Object.hasOwn(set.icons, name) ? (set.icons[name]?.body ?? null) : null
}

let groups: Readonly<Record<string, readonly string[]>> | undefined

/** The names of a category, such as `Food & Drink`. */
export function iconsOf(category: string): readonly string[] {
  groups ??= (require('@iconify-json/fluent-emoji-flat/metadata.json') as { categories: Record<string, string[]> })
    .categories
  return groups[category] ?? []
}

/**
 * The icon as a drawing to be coloured: every shape white inside one even outline, in the order in which they lie over
 * each other, so that hidden edges stay hidden and every area is closed.
 */
export function outlined(body: string, stroke: string, strokeWidth: number, fill = '#ffffff'): string {
  const plain = body.replace(/fill="(?!none)[^"]*"/g, `fill="${fill}"`).replace(/ (?:fill-)?opacity="[^"]*"/g, '')
  return `<g stroke="${stroke}" stroke-width="${strokeWidth}" stroke-linejoin="round" stroke-linecap="round">${plain}</g>`
}
