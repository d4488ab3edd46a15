/**
 * The pen: turns outlines and colours into SVG in one of the styles, so that a subject is drawn once, as shapes,
 * and every style falls out of it. Also draws what faces and clothes need, because those change with style and mood.
 */
import { brightness, lit, mix, type Palette, shaded } from './colours.ts'
import { boundsOf, breadth, hatch, oval, placed, trembling } from './path.ts'
import type { Style } from './styles.ts'

/** What somebody in the picture wears, feels and is coloured like; read from the prompt. */
export interface Look {
  /** The prompt in lower case, for details only one subject understands. */
  readonly text: string
  /** The colour word that belongs to the subject, as a colour. */
  readonly tint?: string
  /** Worn things by name, each with its colour. */
  readonly wears: ReadonlyMap<string, string>
  readonly mood: 'content' | 'happy' | 'sad' | 'asleep' | 'cross'
}

/** Colours of one subject: `main` is its own, the rest come from the palette. */
interface Colours {
  readonly main: string
  readonly ink: string
  readonly accent: string
  readonly second: string
  readonly paper: string
}

/** Draws one subject in one style. Returns SVG text; paths are in the subject's 400 × 400 box. */
export interface Pen {
  readonly style: Style
  readonly look: Look
  readonly colours: Colours
  /** A closed, outlined, shaded shape. `inside` is drawn on it and cut at its edge. */
  shape(d: string, fill: string, inside?: string): string
  /** A marking on a shape: no outline of its own (a thin one in styles without fills). */
  patch(d: string, fill: string): string
  /** A stroke. */
  line(d: string, weight?: number, colour?: string): string
  /** A spot of light on a shiny surface. */
  shine(d: string): string
  /** A solid spot of ink: pupils, noses. */
  spot(d: string, colour?: string): string
}

export interface PenOptions {
  readonly style: Style
  readonly look: Look
  readonly palette: Palette
  readonly main: string
  /** The backdrop's colour, under translucent washes. */
  readonly ground: string
  /** Seeds the trembling of hand-drawn lines. */
  readonly seed: number
  /** Prefix of the ids in the SVG; unique within a picture. */
  readonly ids: string
}

/** Makes the pen of one subject. Its only state is a counter for SVG ids, so the same calls give the same text. */
export function createPen(options: PenOptions): Pen {
  const { style, look, palette, ids, seed } = options
  const soften = (colour: string): string => (style.pastel > 0 ? mix(colour, '#fff6f8', style.pastel) : colour)
  const ink = style.blackInk ? '#1c1c20' : style.fill === 'flat' ? palette.ink : mix(palette.ink, '#101018', 0.25)
  let count = 0
  const newId = (): string => `${ids}${count++}`
  const drawn = (d: string, turn = 0): string =>
    style.tremble > 0 ? trembling(d, Math.min(style.tremble, 1 + breadth(d) / 16), seed + turn) : d
  const stroke = (d: string, width: number, colour: string, opacity = 1): string =>
    `<path d="${d}" fill="none" stroke="${colour}" stroke-width="${width.toFixed(2)}" stroke-linecap="round" ` +
    `stroke-linejoin="round"${opacity < 1 ? ` opacity="${opacity}"` : ''}/>`
  const fillOf = (d: string, colour: string, opacity = 1): string =>
    `<path d="${d}" fill="${colour}"${opacity < 1 ? ` opacity="${opacity}"` : ''}/>`
  const clipped = (d: string, content: string): string => {
    const id = newId()
    return `<clipPath id="${id}"><path d="${d}"/></clipPath><g clip-path="url(#${id})">${content}</g>`
  }
  const handLine = (d: string, width: number, colour: string): string =>
    stroke(drawn(d), width, colour) + stroke(drawn(d, 1), width * 0.45, colour, 0.65)

  const outline = (d: string, colour: string, weight = 1): string => {
    const width = style.line * weight
    if (style.fill === 'crayon' || style.fill === 'hatch') return handLine(d, width, ink)
    if (style.fill === 'wash') {
      return (
        stroke(drawn(d), width * 2.4, shaded(colour, 0.3), 0.32) +
        stroke(drawn(d, 2), width, mix(ink, shaded(colour, 0.5), 0.35), 0.85)
      )
    }
    if (style.fill === 'gradient') return stroke(d, width * weight, shaded(colour, 0.6), 0.75)
    return stroke(d, width, ink)
  }

  const hatching = (d: string, colour: string, opacity: number): string =>
    stroke(drawn(hatch(boundsOf(d), 9), 5), 2, colour, opacity)

  const filled = (d: string, colour: string, inside: string): string => {
    const size = breadth(d)
    const step = size < 22 ? 0 : Math.min(13, size * 0.085)
    const edge = drawn(d)
    switch (style.fill) {
      case 'paper':
        return fillOf(d, '#ffffff') + clipped(d, inside)
      case 'hatch': {
        const tone = 1 - brightness(colour)
        const light = placed(edge, -step * 1.6, -step * 1.3)
        const grey = mix('#ffffff', '#5a5a62', tone * 0.55)
        return clipped(
          edge,
          fillOf(edge, grey) + hatching(edge, ink, 0.42) + fillOf(light, mix(grey, '#ffffff', 0.35)) + inside,
        )
      }
      case 'crayon': {
        const slipped = placed(edge, -step * 0.75, -step * 0.65)
        return (
          fillOf(edge, mix(colour, '#ffffff', 0.88)) +
          clipped(
            edge,
            fillOf(edge, lit(colour, 0.62)) +
              (size < 22 ? '' : hatching(edge, shaded(colour, 0.1), 0.75)) +
              fillOf(slipped, lit(colour, 0.1)) +
              inside,
          )
        )
      }
      case 'wash': {
        const id = newId()
        const blooms =
          `<radialGradient id="${id}" cx="36%" cy="28%" r="85%"><stop offset="0" stop-color="${lit(colour, 0.62)}"/>` +
          `<stop offset="0.55" stop-color="${colour}"/><stop offset="1" stop-color="${shaded(colour, 0.24)}"/></radialGradient>`
        return (
          fillOf(edge, mix(options.ground, '#ffffff', 0.5)) +
          blooms +
          fillOf(edge, `url(#${id})`, 0.86) +
          clipped(edge, fillOf(drawn(placed(d, step * 0.9, step), 3), shaded(colour, 0.12), 0.3) + inside)
        )
      }
      case 'gradient': {
        const id = newId()
        const shadeId = newId()
        const light =
          `<radialGradient id="${id}" cx="34%" cy="24%" r="92%"><stop offset="0" stop-color="${lit(colour, 0.42)}"/>` +
          `<stop offset="0.42" stop-color="${colour}"/><stop offset="1" stop-color="${shaded(colour, 0.5)}"/></radialGradient>`
        const rim =
          `<linearGradient id="${shadeId}" x1="0" y1="0" x2="0.35" y2="1"><stop offset="0.55" stop-color="#1a1030" ` +
          `stop-opacity="0"/><stop offset="1" stop-color="#1a1030" stop-opacity="0.24"/></linearGradient>`
        return light + rim + fillOf(d, `url(#${id})`) + clipped(d, inside) + fillOf(d, `url(#${shadeId})`)
      }
      default:
        if (step === 0) return fillOf(d, colour) + (inside === '' ? '' : clipped(d, inside))
        return clipped(d, fillOf(d, shaded(colour)) + fillOf(placed(d, -step, -step * 0.8), colour) + inside)
    }
  }

  return {
    style,
    look,
    colours: {
      main: soften(options.main),
      ink,
      accent: soften(palette.accent),
      second: soften(palette.second),
      paper: options.ground,
    },
    shape: (d, fill, inside = '') => filled(d, soften(fill), inside) + outline(d, soften(fill)),
    patch: (d, fill) => {
      if (style.fill === 'paper') return stroke(d, style.line * 0.55, ink)
      if (style.fill === 'hatch') {
        return (
          fillOf(drawn(d), mix('#ffffff', '#5a5a62', (1 - brightness(fill)) * 0.7), 0.8) +
          stroke(drawn(d), 1.5, ink, 0.5)
        )
      }
      if (style.fill === 'wash') return fillOf(drawn(d, 4), soften(fill), 0.78)
      if (style.fill === 'crayon') return fillOf(drawn(d, 4), lit(fill, 0.12), 0.92)
      return fillOf(d, soften(fill))
    },
    line: (d, weight = 0.75, colour = ink) => {
      const width = Math.max(1.6, style.fill === 'gradient' ? 3.4 * weight : style.line * weight)
      if (style.fill === 'crayon' || style.fill === 'hatch') return handLine(d, width, style.blackInk ? ink : colour)
      return stroke(drawn(d), style.fill === 'wash' ? width * 1.3 : width, style.blackInk ? ink : colour)
    },
    shine: (d) => (style.fill === 'paper' || style.fill === 'hatch' ? '' : fillOf(drawn(d), '#ffffff', 0.5)),
    spot: (d, colour = ink) => fillOf(drawn(d), style.blackInk ? ink : colour),
  }
}

/**
 * A pen that draws only the silhouette, in one colour and grown by `grow` units: a sticker's border, a cast shadow.
 */
export function createSilhouettePen(pen: Pen, colour: string, grow: number): Pen {
  const solid = (d: string, width: number, fill: string): string =>
    `<path d="${d}" fill="${fill}" stroke="${colour}" stroke-width="${width.toFixed(1)}" stroke-linejoin="round" stroke-linecap="round"/>`
  return {
    style: pen.style,
    look: pen.look,
    colours: pen.colours,
    shape: (d) => solid(d, grow * 2 + pen.style.line, colour),
    patch: () => '',
    line: (d, weight = 0.75) => solid(d, grow * 2 + pen.style.line * weight, 'none'),
    shine: () => '',
    spot: (d) => solid(d, grow * 2, colour),
  }
}

/** Where a pair of eyes sits: the middle between them, half their distance, and their size. */
export interface EyesAt {
  readonly x: number
  readonly y: number
  readonly apart: number
  readonly size: number
  /** The colour around the eyes, which decides whether they need a white ring to be seen. */
  readonly on: string
  /** Iris colour of larger eyes. */
  readonly iris?: string
}

/** Two eyes in the style's and the mood's way, with the glasses if any are worn. */
export function eyes(pen: Pen, at: EyesAt): string {
  const { size, y } = at
  const { ink } = pen.colours
  const dark = brightness(at.on) < 0.36
  const lid = dark ? lit(at.on, 0.75) : ink
  const one = (x: number, side: 1 | -1): string => {
    if (pen.look.mood === 'asleep') {
      return pen.line(`M${x - size} ${y} Q${x} ${y + size * 1.1} ${x + size} ${y}`, 0.7, lid)
    }
    if (pen.look.mood === 'happy' && pen.style.eyes === 'dot') {
      return pen.line(`M${x - size} ${y + size * 0.4} Q${x} ${y - size * 1.2} ${x + size} ${y + size * 0.4}`, 0.75, lid)
    }
    const white = (cx: number, cy: number, r: number): string => `<circle cx="${cx}" cy="${cy}" r="${r}" fill="#fff"/>`
    const brow =
      pen.look.mood === 'cross'
        ? pen.line(`M${x - side * size * 1.3} ${y - size * 1.3} L${x + side * size * 0.9} ${y - size * 2}`, 0.7, lid)
        : pen.look.mood === 'sad'
          ? pen.line(
              `M${x - side * size * 1.1} ${y - size * 2.1} L${x + side * size * 1.1} ${y - size * 1.5}`,
              0.6,
              lid,
            )
          : ''
    if (pen.style.eyes === 'sparkle') {
      const [rx, ry] = [size * 1.2, size * 1.45]
      return (
        (dark ? white(x, y, size * 1.6) : '') +
        pen.spot(oval(x, y, rx, ry), mix(ink, '#241428', 0.4)) +
        white(x - rx * 0.32, y - ry * 0.4, size * 0.48) +
        white(x + rx * 0.38, y + ry * 0.38, size * 0.25) +
        brow
      )
    }
    if (pen.style.eyes === 'round') {
      const ball = oval(x, y, size * 1.5, size * 1.75)
      return (
        `<path d="${ball}" fill="#fff"/>${pen.line(ball, 0.45)}` +
        pen.spot(oval(x - side * size * 0.18, y + size * 0.22, size * 0.85, size * 1.08)) +
        white(x - side * size * 0.18 - size * 0.26, y - size * 0.18, size * 0.34) +
        brow
      )
    }
    if (pen.style.eyes === 'deep') {
      return (
        pen.shape(oval(x, y, size * 1.15, size * 1.1), at.iris ?? '#7a4a22') +
        pen.spot(oval(x, y, size * 0.62, size * 0.72), '#140e12') +
        white(x - size * 0.36, y - size * 0.4, size * 0.28) +
        brow
      )
    }
    return (
      (dark ? pen.patch(oval(x, y, size * 1.55, size * 1.7), at.iris ?? '#ffe9a8') : '') +
      pen.spot(oval(x, y, size * 0.92, size * 1.18)) +
      white(x - size * 0.28, y - size * 0.42, size * 0.36) +
      brow
    )
  }
  const pair = one(at.x - at.apart, -1) + one(at.x + at.apart, 1)
  const cheeks = pen.style.cute || pen.look.mood === 'happy'
  const blush = cheeks
    ? pen.patch(
        oval(at.x - at.apart - size * 1.5, y + size * 2.4, size * 1.1, size * 0.7),
        mix(at.on, '#ff6f91', 0.55),
      ) +
      pen.patch(oval(at.x + at.apart + size * 1.5, y + size * 2.4, size * 1.1, size * 0.7), mix(at.on, '#ff6f91', 0.55))
    : ''
  return (pen.style.fill === 'paper' ? '' : blush) + pair + glasses(pen, at)
}

function glasses(pen: Pen, at: EyesAt): string {
  const sun = pen.look.wears.get('sunglasses')
  const frame = sun ?? pen.look.wears.get('glasses')
  if (frame === undefined) return ''
  const r = Math.min(at.apart * 0.86, at.size * 2.7)
  const colour = brightness(frame) > 0.85 ? pen.colours.ink : frame
  const lens = (x: number): string =>
    sun === undefined
      ? `<path d="${oval(x, at.y, r)}" fill="#ffffff" opacity="0.25"/>${pen.line(oval(x, at.y, r), 0.9, colour)}`
      : pen.shape(placed(oval(0, 0, r * 1.08, r * 0.9), x, at.y), '#2b2b3a') +
        pen.shine(
          `M${x - r * 0.6} ${at.y - r * 0.1} L${x - r * 0.1} ${at.y - r * 0.6} L${x + r * 0.15} ${at.y - r * 0.6} L${x - r * 0.55} ${at.y + r * 0.2} Z`,
        )
  const bridge = pen.line(
    `M${at.x - at.apart + r} ${at.y - 3} Q${at.x} ${at.y - r * 0.5} ${at.x + at.apart - r} ${at.y - 3}`,
    0.9,
    colour,
  )
  return bridge + lens(at.x - at.apart) + lens(at.x + at.apart)
}

/** A mouth in the mood's way, `width` units wide, its middle at the given point. */
export function mouth(pen: Pen, x: number, y: number, width: number, on: string): string {
  const w = width / 2
  const ink = brightness(on) < 0.36 ? lit(on, 0.75) : pen.colours.ink
  switch (pen.look.mood) {
    case 'sad':
      return pen.line(`M${x - w * 0.7} ${y + w * 0.45} Q${x} ${y - w * 0.35} ${x + w * 0.7} ${y + w * 0.45}`, 0.65, ink)
    case 'cross':
      return pen.line(`M${x - w * 0.6} ${y + w * 0.2} L${x + w * 0.6} ${y + w * 0.2}`, 0.65, ink)
    case 'happy':
      return pen.shape(
        `M${x - w} ${y - w * 0.1} Q${x} ${y + w * 0.15} ${x + w} ${y - w * 0.1} C${x + w * 0.9} ${y + w * 1.2} ${x - w * 0.9} ${y + w * 1.2} ${x - w} ${y - w * 0.1} Z`,
        '#8e2f3f',
        pen.patch(oval(x, y + w * 0.85, w * 0.6, w * 0.4), '#f58a93'),
      )
    default:
      return pen.line(`M${x - w} ${y - w * 0.1} Q${x} ${y + w * 0.85} ${x + w} ${y - w * 0.1}`, 0.65, ink)
  }
}

/** A cat's or dog's mouth: two small bows under the nose. */
export function snoutMouth(pen: Pen, x: number, y: number, width: number, on: string): string {
  if (pen.look.mood === 'happy' || pen.look.mood === 'sad' || pen.look.mood === 'cross') {
    return mouth(pen, x, y + width * 0.12, width * 0.72, on)
  }
  const ink = brightness(on) < 0.36 ? lit(on, 0.75) : pen.colours.ink
  const w = width / 2
  return pen.line(
    `M${x - w} ${y} Q${x - w * 0.5} ${y + w * 0.75} ${x} ${y} Q${x + w * 0.5} ${y + w * 0.75} ${x + w} ${y}`,
    0.6,
    ink,
  )
}
