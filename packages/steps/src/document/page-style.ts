// The look of an assembled page: one column to read in, set in the reader's own fonts, in light, dark and print.
// Hides the colours behind the names of the themes.

interface Tone {
  paper: string
  ink: string
  quiet: string
  line: string
  accent: string
}

const tone = ({ paper, ink, quiet, line, accent }: Tone) =>
  `--paper:${paper};--ink:${ink};--quiet:${quiet};--line:${line};--accent:${accent}`

function theme(light: Tone, dark: Tone): string {
  return `:root{color-scheme:light dark;${tone(light)}}@media (prefers-color-scheme:dark){:root{${tone(dark)}}}`
}

/** `paper` is warm, `slate` cool, `garden` green. */
export const THEMES = {
  paper: theme(
    { paper: '#fbf8f2', ink: '#26221c', quiet: '#6f675a', line: '#e4dccd', accent: '#9a3f1f' },
    { paper: '#171512', ink: '#e9e3d8', quiet: '#a59c8c', line: '#37322a', accent: '#f0a37d' },
  ),
  slate: theme(
    { paper: '#fafbfc', ink: '#1d2530', quiet: '#5c6877', line: '#dde3ea', accent: '#1f5fa8' },
    { paper: '#12161c', ink: '#e3e8ee', quiet: '#95a1b0', line: '#2b333e', accent: '#86bdf5' },
  ),
  garden: theme(
    { paper: '#f8faf4', ink: '#20281f', quiet: '#5f6b5c', line: '#dce4d4', accent: '#2f6b3c' },
    { paper: '#131812', ink: '#e2e9df', quiet: '#98a594', line: '#2c352a', accent: '#93d09d' },
  ),
} as const

export type Theme = keyof typeof THEMES

/** Everything but the colours. A measure of about 66 characters; pictures may be wider than the text. */
export const PAGE_STYLE = `
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--paper);color:var(--ink);font:1.1875rem/1.65 "Iowan Old Style","Palatino Linotype",Palatino,Charter,"Source Serif 4","Noto Serif",Georgia,serif;font-kerning:normal;text-rendering:optimizeLegibility;overflow-wrap:break-word;hanging-punctuation:first last}
article{display:grid;grid-template-columns:[full-start] minmax(1.25rem,1fr) [wide-start] minmax(0,8rem) [text-start] min(38rem,100% - 2.5rem) [text-end] minmax(0,8rem) [wide-end] minmax(1.25rem,1fr) [full-end];padding:clamp(3rem,10vh,7rem) 0 6rem}
article>*{grid-column:text}
section{display:grid;grid-column:full;grid-template-columns:subgrid}
section>*{grid-column:text}
h1,h2,h3,h4,h5,h6{line-height:1.15;text-wrap:balance;font-weight:600;letter-spacing:-.012em}
h1{font-size:clamp(2.25rem,1.5rem + 3.6vw,3.75rem);line-height:1.06;letter-spacing:-.025em;margin:0}
h2{font-size:clamp(1.5rem,1.25rem + 1.2vw,2rem);margin:3.5rem 0 .35rem}
h3{font-size:1.3rem;margin:2.25rem 0 .25rem}
h4,h5,h6{font-size:1.0625rem;margin:1.75rem 0 .25rem}
header{border-top:4px solid var(--accent);padding-top:1.75rem}
.subtitle{margin:1.1rem 0 0;font-size:clamp(1.25rem,1.1rem + .7vw,1.5rem);line-height:1.4;font-style:italic;color:var(--quiet);text-wrap:pretty}
.meta,nav,figcaption,th,footer{font-family:ui-sans-serif,system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",Helvetica,Arial,sans-serif}
.meta{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;margin:1.75rem 0 0;font-size:.875rem;color:var(--quiet)}
.intro{display:flow-root;margin-top:2.75rem;font-size:1.3125rem;line-height:1.6}
.intro>p:first-child::first-letter{float:left;font-size:3.55em;line-height:.8;padding:.07em .09em 0 0;color:var(--accent);font-weight:600}
@supports (initial-letter:3) or (-webkit-initial-letter:3){.intro>p:first-child::first-letter{float:none;font-size:inherit;line-height:inherit;padding:0;-webkit-initial-letter:3;initial-letter:3;margin-inline-end:.6rem}}
p,ul,ol,blockquote,pre,table{margin:1.1rem 0 0}
p{text-wrap:pretty;hyphens:auto;hyphenate-limit-chars:8 4 4}
li{margin:.35rem 0}
li::marker{color:var(--quiet)}
ul,ol{padding-inline-start:1.4rem}
a{color:var(--accent);text-decoration-thickness:1px;text-underline-offset:.18em}
a:hover{text-decoration-thickness:2px}
a:focus-visible{outline:2px solid var(--accent);outline-offset:3px;border-radius:2px}
strong{font-weight:650}
blockquote>:first-child{margin-top:0}
blockquote{padding-inline-start:1.35rem;margin-inline:0;border-inline-start:3px solid var(--accent);font-style:italic}
hr{border:0;margin:3rem auto;width:5rem;border-top:1px solid var(--line)}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.86em}
code{background:color-mix(in srgb,var(--ink) 7%,transparent);border-radius:4px;padding:.1em .3em}
pre{overflow-x:auto;border:1px solid var(--line);border-radius:8px;padding:1rem 1.15rem;line-height:1.5}
pre code{background:none;padding:0;font-size:1em}
table{display:block;overflow-x:auto;border-collapse:collapse;font-size:1rem;font-variant-numeric:tabular-nums}
th,td{border-bottom:1px solid var(--line);padding:.5rem 1.1rem .5rem 0;text-align:start;vertical-align:top}
th{font-size:.8125rem;color:var(--quiet);font-weight:600}
.right{text-align:end}
.center{text-align:center}
figure{margin:1.75rem 0 1.25rem}
figure.wide{grid-column:wide}
figure.tall{justify-self:center;width:min(100%,27rem)}
img{display:block;width:100%;height:auto;border-radius:10px;background:var(--line)}
figcaption{margin:.7rem auto 0;max-width:38rem;font-size:.875rem;line-height:1.5;color:var(--quiet)}
nav{margin-top:3rem;padding:1.25rem 0;border-block:1px solid var(--line);font-size:.9375rem}
nav h2,footer h2{margin:0;font-size:.8125rem;letter-spacing:.08em;text-transform:uppercase;color:var(--quiet)}
nav ol{margin:.75rem 0 0;columns:2 15rem;column-gap:2.5rem}
nav li{break-inside:avoid;margin:0 0 .35rem}
nav a{color:inherit;text-decoration:none}
nav a:hover{color:var(--accent);text-decoration:underline}
footer{margin-top:4.5rem;padding-top:1.5rem;border-top:1px solid var(--line);font-size:.875rem;line-height:1.5;color:var(--quiet)}
footer ol{margin-top:.75rem}
@media (max-width:40rem){body{font-size:1.0625rem}.intro{font-size:1.1875rem}figure.wide{grid-column:full}figure.wide img{border-radius:0}figure.wide figcaption{padding:0 1.25rem}}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
@media print{@page{margin:20mm 18mm}:root{--paper:#fff;--ink:#000;--quiet:#444;--line:#bbb}body{font-size:11pt;line-height:1.5}article,section{display:block;padding:0}nav{display:none}h1{font-size:26pt}h2,h3,h4{break-after:avoid}figure,blockquote,pre,tr{break-inside:avoid}img{max-height:14cm;width:auto;max-width:100%;margin:0 auto}p{orphans:3;widows:3}section p a::after{content:" (" attr(href) ")";font-size:.85em;color:#444}}
`
