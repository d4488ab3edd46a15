/**
 * Outlines as SVG path data made of absolute coordinate pairs only (M L Q C Z), so that an outline can be mirrored,
 * moved, measured and made to tremble like a hand-drawn line without a path library.
 */

/** The side of the square every subject is drawn in, in drawing units. */
export const BOX = 400

type Point = readonly [x: number, y: number]

const short = (value: number): string => String(Math.round(value * 100) / 100)

/** An ellipse, turned by `degrees` around its centre. */
export function oval(cx: number, cy: number, rx: number, ry = rx, degrees = 0): string {
  const k = 0.5523
  const turn = (degrees * Math.PI) / 180
  const at = (x: number, y: number): string => {
    const px = cx + x * rx * Math.cos(turn) - y * ry * Math.sin(turn)
    const py = cy + x * rx * Math.sin(turn) + y * ry * Math.cos(turn)
    return `${short(px)} ${short(py)}`
  }
  return (
    `M${at(1, 0)} C${at(1, k)} ${at(k, 1)} ${at(0, 1)} C${at(-k, 1)} ${at(-1, k)} ${at(-1, 0)} ` +
    `C${at(-1, -k)} ${at(-k, -1)} ${at(0, -1)} C${at(k, -1)} ${at(1, -k)} ${at(1, 0)} Z`
  )
}

/** A rectangle with rounded corners. */
export function box(x: number, y: number, width: number, height: number, radius = 0): string {
  const r = Math.min(radius, width / 2, height / 2)
  const [right, bottom] = [x + width, y + height]
  return (
    `M${x + r} ${y} L${right - r} ${y} Q${right} ${y} ${right} ${y + r} L${right} ${bottom - r} ` +
    `Q${right} ${bottom} ${right - r} ${bottom} L${x + r} ${bottom} Q${x} ${bottom} ${x} ${bottom - r} ` +
    `L${x} ${y + r} Q${x} ${y} ${x + r} ${y} Z`
  )
}

/** A closed polygon, its corners rounded by `radius`. */
export function polygon(points: readonly Point[], radius = 0): string {
  const parts = points.map((point, i) => {
    const before = points[(i + points.length - 1) % points.length] ?? point
    const after = points[(i + 1) % points.length] ?? point
    const towards = (to: Point): string => {
      const length = Math.hypot(to[0] - point[0], to[1] - point[1]) || 1
      const step = Math.min(radius, length / 2) / length
      return `${short(point[0] + (to[0] - point[0]) * step)} ${short(point[1] + (to[1] - point[1]) * step)}`
    }
    return `${i === 0 ? 'M' : 'L'}${towards(before)} Q${short(point[0])} ${short(point[1])} ${towards(after)}`
  })
  return `${parts.join(' ')} Z`
}

/** A star of `points` tips between two radii; many tips with close radii give a scalloped disc. */
export function star(
  cx: number,
  cy: number,
  points: number,
  outer: number,
  inner: number,
  radius = 0,
  turn = 0,
): string {
  const corners = Array.from({ length: points * 2 }, (_, i): Point => {
    const angle = (i * Math.PI) / points - Math.PI / 2 + (turn * Math.PI) / 180
    const r = i % 2 === 0 ? outer : inner
    return [cx + Math.cos(angle) * r, cy + Math.sin(angle) * r]
  })
  return polygon(corners, radius)
}

function mapPoints(d: string, change: (x: number, y: number) => Point): string {
  return d.replace(/(-?[\d.]+)[ ,]+(-?[\d.]+)/g, (_, x: string, y: string) => {
    const [px, py] = change(Number(x), Number(y))
    return `${short(px)} ${short(py)}`
  })
}

/** The outline seen in a mirror standing at x = `axis`. */
export const mirrored = (d: string, axis = BOX / 2): string => mapPoints(d, (x, y) => [2 * axis - x, y])

/** Draws an outline and its mirror image: ears, wings, feet. */
export const both = (draw: (d: string) => string, d: string): string => draw(d) + draw(mirrored(d))

/** The outline scaled around the origin, then moved. */
export const placed = (d: string, dx: number, dy: number, scale = 1): string =>
  mapPoints(d, (x, y) => [x * scale + dx, y * scale + dy])

/** The upright box around a shape. */
export interface Bounds {
  readonly left: number
  readonly top: number
  readonly right: number
  readonly bottom: number
}

/** The box around an outline's points. */
export function boundsOf(d: string): Bounds {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity]
  for (const match of d.matchAll(/(-?[\d.]+)[ ,]+(-?[\d.]+)/g)) {
    const [x, y] = [Number(match[1]), Number(match[2])]
    left = Math.min(left, x)
    top = Math.min(top, y)
    right = Math.max(right, x)
    bottom = Math.max(bottom, y)
  }
  return { left, top, right, bottom }
}

/** The smaller side of the box around an outline. */
export function breadth(d: string): number {
  const { left, top, right, bottom } = boundsOf(d)
  return Math.min(right - left, bottom - top)
}

/** Slanting parallel strokes, `gap` units apart, that cover a box. */
export function hatch({ left, top, right, bottom }: Bounds, gap: number): string {
  const strokes: string[] = []
  for (let sum = Math.ceil((left + top) / gap) * gap; sum < right + bottom; sum += gap) {
    const [fromX, toX] = [Math.max(left, sum - bottom), Math.min(right, sum - top)]
    if (toX > fromX) strokes.push(`M${short(fromX)} ${short(sum - fromX)} L${short(toX)} ${short(sum - toX)}`)
  }
  return strokes.join(' ')
}

function lattice(ix: number, iy: number, seed: number): number {
  let hash = Math.imul(ix, 374761393) ^ Math.imul(iy, 668265263) ^ Math.imul(seed, 2147483647)
  hash = Math.imul(hash ^ (hash >>> 13), 1274126177)
  return ((hash ^ (hash >>> 16)) >>> 0) / 2147483648 - 1
}

function smoothNoise(x: number, y: number, seed: number): number {
  const [ix, iy] = [Math.floor(x), Math.floor(y)]
  const ease = (t: number): number => t * t * (3 - 2 * t)
  const [fx, fy] = [ease(x - ix), ease(y - iy)]
  const top = lattice(ix, iy, seed) * (1 - fx) + lattice(ix + 1, iy, seed) * fx
  const bottom = lattice(ix, iy + 1, seed) * (1 - fx) + lattice(ix + 1, iy + 1, seed) * fx
  return top * (1 - fy) + bottom * fy
}

/**
 * The outline as a hand would draw it: up to `amount` units off at every point, smoothly, the same way for the same
 * seed. Waves are about `wavelength` units long; outlines that touch tremble together, because the noise is in space.
 */
export function trembling(d: string, amount: number, seed: number, wavelength = 34): string {
  const out: string[] = []
  let [x, y, startX, startY] = [0, 0, 0, 0]
  const put = (command: string, px: number, py: number): void => {
    const dx = smoothNoise(px / wavelength, py / wavelength, seed) * amount
    const dy = smoothNoise(px / wavelength + 57, py / wavelength + 13, seed) * amount
    out.push(`${command}${short(px + dx)} ${short(py + dy)}`)
  }
  const along = (length: number, at: (t: number) => Point): void => {
    const pieces = Math.max(1, Math.ceil(length / 5))
    for (let i = 1; i <= pieces; i++) put('L', ...at(i / pieces))
  }
  for (const [, command = '', rest = ''] of d.matchAll(/([MLQCZ])([^MLQCZ]*)/g)) {
    const n = [...rest.matchAll(/-?[\d.]+/g)].map((match) => Number(match[0]))
    const size = command === 'C' ? 6 : command === 'Q' ? 4 : 2
    if (command === 'Z') {
      const [fromX, fromY, toX, toY] = [x, y, startX, startY]
      along(Math.hypot(toX - fromX, toY - fromY), (t) => [fromX + (toX - fromX) * t, fromY + (toY - fromY) * t])
      out.push('Z')
      ;[x, y] = [startX, startY]
    }
    for (let i = 0; i + size <= n.length; i += size) {
      const [a = 0, b = 0, c = 0, e = 0, f = 0, g = 0] = n.slice(i, i + size)
      const [x0, y0] = [x, y]
      if (command === 'M' && i === 0) {
        put('M', a, b)
        ;[startX, startY] = [a, b]
      } else if (size === 2) {
        along(Math.hypot(a - x0, b - y0), (t) => [x0 + (a - x0) * t, y0 + (b - y0) * t])
      } else if (size === 4) {
        along(Math.hypot(a - x0, b - y0) + Math.hypot(c - a, e - b), (t) => {
          const u = 1 - t
          return [u * u * x0 + 2 * u * t * a + t * t * c, u * u * y0 + 2 * u * t * b + t * t * e]
        })
      } else {
        const length = Math.hypot(a - x0, b - y0) + Math.hypot(c - a, e - b) + Math.hypot(f - c, g - e)
        along(length, (t) => {
          const u = 1 - t
          const [w0, w1, w2, w3] = [u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t]
          return [w0 * x0 + w1 * a + w2 * c + w3 * f, w0 * y0 + w1 * b + w2 * e + w3 * g]
        })
      }
      ;[x, y] = size === 2 ? [a, b] : size === 4 ? [c, e] : [f, g]
    }
  }
  return out.join(' ')
}
