/**
 * Reads a prompt in plain words: which things it asks for, and which icon shows each.
 * It hides the names of icons and which words are no things; a thing without an icon stays a word.
 */
import { iconsOf } from './icons.ts'
import { isFiller } from './prose.ts'

/** What a picture shows. */
export interface Subjects {
  /** Names of icons, the main one first; where the main subject has none, those of what goes with it. */
  readonly icons: readonly string[]
  /** The main subject in the prompt's words, for a card; null where it has an icon. */
  readonly label: string | null
}

/** Companions beyond two make a crowd. */
const ICONS_MAX = 3

const PROMPT_CHARACTERS_MAX = 4_000
const LABEL_CHARACTERS_MAX = 60

/** The categories whose icons are things that have their own name. */
const THINGS = ['Animals & Nature', 'Food & Drink', 'Activities', 'Objects', 'Travel & Places']

/** Names of icons that a prompt's words mostly mean differently: verbs, properties, parts of a layout. */
const NEVER = new Set(
  'watch pick fly link label memo customs construction foggy seat plus minus hook locked unlocked goal net cooking'.split(
    ' ',
  ),
)

/** Plain names for icons with another one: `icon: names`. Only true names; whatever merely goes with it stands not here. */
const NAMES = `
honeybee: bee, bumblebee, honey bee; lady-beetle: ladybug, ladybird; bug: caterpillar; paw-prints: paw print; lion: lioness; rabbit: bunny, hare
dog: puppy, doggy, hound; cat: kitten, kitty; pig: piglet, hog; horse: pony, mare, stallion; chicken: hen; baby-chick: chick; rooster: cockerel
rhinoceros: rhino; hippopotamus: hippo; frog: toad; turtle: tortoise; crocodile: alligator; whale: humpback whale, blue whale
spiral-shell: seashell, shell; t-rex: tyrannosaurus, dinosaur; sauropod: brontosaurus, brachiosaurus; ewe: sheep, lamb; deer: stag, fawn, reindeer
ox: bullock; bison: buffalo; camel: dromedary; two-hump-camel: bactrian camel; blowfish: pufferfish; chipmunk: ground squirrel; bird: songbird
mouse: mice; microbe: bacteria, germ, virus; phoenix-bird: phoenix; goose: geese; orangutan: ape; deciduous-tree: tree, oak, oak tree
evergreen-tree: pine tree, fir tree, conifer, pine, fir; palm-tree: palm; fallen-leaf: autumn leaf; leaf-fluttering-in-wind: leaf
four-leaf-clover: clover; seedling: sprout, sapling; blossom: flower, daisy; sheaf-of-rice: wheat; potted-plant: houseplant, pot plant
cherry-blossom: sakura; bouquet: bunch of flowers; red-apple: apple; tangerine: orange, mandarin, clementine; kiwi-fruit: kiwi
ear-of-corn: corn, maize, sweetcorn; hot-pepper: chili, chilli; bell-pepper: paprika; leafy-green: lettuce, cabbage; eggplant: aubergine
cucumber: gherkin; peanuts: peanut; bread: loaf, loaf of bread; baguette-bread: baguette; cheese-wedge: cheese; cut-of-meat: steak
french-fries: fries; hamburger: burger, cheeseburger; hot-dog: hotdog; cooking: fried egg; pot-of-food: stew; green-salad: salad; cooked-rice: rice
curry-rice: curry; steaming-bowl: noodles, ramen, soup; fried-shrimp: prawn; fish-cake-with-swirl: fish cake; shortcake: cake slice, slice of cake
birthday-cake: cake; doughnut: donut; chocolate-bar: chocolate; soft-ice-cream: ice cream cone; honey-pot: honey, honey jar, jar of honey
glass-of-milk: milk; baby-bottle: bottle of milk
hot-beverage: coffee, tea, cup of coffee, cup of tea, coffee cup, teacup, mug, hot chocolate, espresso; wine-glass: wine, glass of wine
beer-mug: beer; cocktail-glass: cocktail, martini; bottle-with-popping-cork: champagne; fork-and-knife: cutlery; kitchen-knife: knife
bubble-tea: boba; automobile: car; racing-car: race car; sport-utility-vehicle: suv; delivery-truck: truck, lorry; airplane: plane, aeroplane
bicycle: bike; motorcycle: motorbike; motor-scooter: moped, vespa; kick-scooter: scooter; locomotive: steam train, steam engine, steam locomotive
sailboat: sailing boat, sail boat, yacht, boat; motor-boat: motorboat; passenger-ship: cruise ship, ocean liner; tram-car: streetcar
police-car: patrol car; fire-engine: fire truck; flying-saucer: ufo; world-map: map; globe-showing-europe-africa: globe, earth, planet earth, world
ringed-planet: planet, saturn; sun: sunshine; crescent-moon: moon; cloud-with-rain: rain cloud, rain
high-voltage: lightning, lightning bolt, thunderbolt; water-wave: wave, ocean, sea; snow-capped-mountain: snowy mountain, alps
beach-with-umbrella: beach; desert-island: island, tropical island; droplet: water drop, drop of water, raindrop; house: home, cottage, cabin
house-with-garden: garden house; office-building: building, skyscraper; classical-building: temple, museum; bridge-at-night: bridge
cityscape: city, skyline; school: schoolhouse; derelict-house: haunted house, ruin; circus-tent: circus; roller-coaster: rollercoaster
carousel-horse: carousel, merry go round; hourglass-done: hourglass; mantelpiece-clock: clock; watch: wristwatch, wrist watch
speaker-high-volume: speaker, loudspeaker box; headphone: headphones, headset; studio-microphone: mic; musical-note: note, music
musical-keyboard: piano; guitar: acoustic guitar, electric guitar; long-drum: conga; television: tv, tv set
mobile-phone: phone, smartphone, cell phone, cellphone; telephone: rotary phone; desktop-computer: computer, monitor; floppy-disk: diskette
camera: photo camera; movie-camera: film camera; video-camera: camcorder; magnifying-glass-tilted-left: magnifying glass, magnifier
light-bulb: lightbulb, bulb, lamp; flashlight: torch; red-paper-lantern: paper lantern, lantern; closed-book: textbook; open-book: book, novel
books: stack of books, pile of books; scroll: parchment; newspaper: news paper; envelope: letter, mail; package: parcel, cardboard box, box
postbox: mailbox, letterbox; paintbrush: brush, paint brush; artist-palette: palette of paint, paint palette, palette; spiral-calendar: calendar
pushpin: thumbtack; straight-ruler: ruler; wastebasket: trash can, waste basket, bin; file-cabinet: filing cabinet; old-key: antique key; axe: hatchet
wrench: spanner; gear: cog, cogwheel; balance-scale: scales; couch-and-lamp: sofa, couch; chair: armchair, stool; bathtub: bath tub; soap: bar of soap
roll-of-paper: toilet paper; shopping-cart: shopping trolley; crossed-swords: swords; dagger: sword; top-hat: hat; billed-cap: cap, baseball cap
womans-hat: sun hat, straw hat; glasses: eyeglasses, spectacles; t-shirt: tshirt, shirt; jeans: trousers, pants; necktie: tie
running-shoe: sneaker, shoe, trainers; high-heeled-shoe: high heel; hiking-boot: boot; handbag: bag; backpack: rucksack
gem-stone: diamond, gem, jewel; ring: engagement ring; party-popper: confetti; wrapped-gift: gift, present; jack-o-lantern: halloween pumpkin, pumpkin
teddy-bear: teddy; soccer-ball: football, soccer, ball; trophy: cup trophy; video-game: game controller, gamepad, controller
puzzle-piece: jigsaw piece, puzzle; game-die: dice, die; chess-pawn: pawn; sewing-needle: needle; yarn: ball of yarn, wool; thread: spool of thread
robot: robot, android; ghost: ghost; alien: alien; skull: skull; red-heart: heart; pile-of-poo: poop; fire: flame, campfire, bonfire
baby: baby, infant; boy: boy; girl: girl; man: man, father, dad, gentleman; woman: woman, mother, mom, lady; person: person, human, someone
old-woman: grandmother, grandma, old woman; old-man: grandfather, grandpa, old man; child: child, kid, toddler; people-hugging: hug
astronaut: astronaut, cosmonaut; farmer: farmer; teacher: teacher; cook: chef, cook; firefighter: firefighter, fireman; detective: detective
police-officer: police officer, policeman; health-worker: doctor, nurse; scientist: scientist, chemist, biologist; mechanic: mechanic; pilot: pilot
student: student, pupil; artist: painter, artist; singer: singer; judge: judge; technologist: programmer, developer; guard: royal guard; ninja: ninja
construction-worker: construction worker, builder; princess: princess; prince: prince; person-with-crown: king, queen; person-mage: wizard, witch
person-fairy: fairy; person-merpeople: mermaid; person-elf: elf; santa-claus: santa, santa claus; person-vampire: vampire; person-superhero: superhero
person-surfing: surfer; person-swimming: swimmer; person-running: runner; person-biking: cyclist; snowboarder: snowboarder; skier: skier
woman-dancing: dancer; brain: brain; anatomical-heart: human heart; tooth: tooth, teeth; bone: bone; eye: eye; ear: ear; lungs: lungs
handshake: handshake; footprints: footprint`

/** Which icons are people: the plain "person" gives way to one that says more. */
const PERSON = 'person'

/** A phrase that holds a thing's name and means another one without an icon. */
const COMPOUNDS = new Set(
  (
    'hot air balloon,space station,gas station,ice cream truck,sea horse,star fish,guinea pig,fire fly,dragon fly,red panda,killer whale,' +
    'tree house,bird house,doll house,piggy bank,paper plane,paper airplane,cheese cake'
  ).split(','),
)

/** Words that describe; alone, as in "cute, friendly", they name nothing. */
const QUALITIES = new Set(
  (
    'cute friendly happy big small tiny large old young beautiful colorful colourful funny lovely pretty nice warm cold bright dark light soft ' +
    'bold clean flat minimal minimalist modern vintage retro simple detailed realistic red blue green yellow orange purple pink black white ' +
    'brown grey gray golden silver fresh wild sleepy sad angry brave calm quiet tall short round giant wooden fluffy shiny magical whole ' +
    'watercolor watercolour cartoon kawaii doodle sticker outline vector pencil linocut gouache photograph photo portrait illustration picture ' +
    'drawing sketch painting clipart clip art icon logo transparent background backdrop front view side close up closeup upright wide page sheet'
  ).split(' '),
)

let index: Map<string, string> | undefined

/** Every phrase that names an icon. */
function phrases(): Map<string, string> {
  if (index !== undefined) return index
  index = new Map()
  for (const name of THINGS.flatMap(iconsOf)) if (!NEVER.has(name)) index.set(name.replaceAll('-', ' '), name)
  for (const entry of NAMES.split(/[;\n]/)) {
    const [icon = '', names = ''] = entry.split(':')
    for (const name of names.split(',')) if (name.trim() !== '') index.set(name.trim(), icon.trim())
  }
  return index
}

/** How words of many end, and of one. */
const PLURALS = 'ies y,ves f,ves fe,es ,s ,men man,children child,people person'
  .split(',')
  .map((pair) => pair.split(' '))

/** The forms under which a word may be known: as it stands, and as one of many. */
function singulars(word: string): string[] {
  const fitting = PLURALS.filter(([many = '']) => word.endsWith(many))
  return [word, ...fitting.map(([many = '', one = '']) => word.slice(0, -many.length) + one)]
}

/** The icon that the first words name, the longest name first, and of how many words it is. */
function known(words: readonly string[]): { icon: string | null; length: number } | null {
  for (let length = Math.min(4, words.length); length > 0; length--) {
    const [head, last = ''] = [words.slice(0, length - 1), words[length - 1]]
    for (const form of singulars(last)) {
      const phrase = [...head, form].join(' ')
      if (COMPOUNDS.has(phrase)) return { icon: null, length }
      const icon = phrases().get(phrase)
      if (icon !== undefined) return { icon, length }
    }
  }
  return null
}

/** A run of words without a gap: its last one is the thing, those before say which. */
interface NounPhrase {
  readonly words: string[]
  icon: string | null
}

/** The things that a sentence names, in its order. What is denied ("no people") is left out. */
function nounPhrases(sentence: string): NounPhrase[] {
  const found: NounPhrase[] = []
  for (const clause of sentence.split(/[,:()"“”\n]+/)) {
    const words: string[] = clause.match(/[\p{L}\p{N}]+/gu) ?? []
    let open: NounPhrase | null = null
    for (let at = 0; at < words.length; ) {
      const word = words[at] ?? ''
      if (/^(?:no|without|never|not|avoid|avoiding)$/.test(word)) {
        const until = words.indexOf('but', at)
        if (until < 0) break
        at = until
        open = null
        continue
      }
      const match = known(words.slice(at))
      if (match === null && (isFiller(word) || /.{3}(?:ing|ed|ly)$/.test(word) || word.length < 2)) {
        open = null
        at += 1
        continue
      }
      const length = match?.length ?? 1
      if (open === null) found.push((open = { words: [], icon: null }))
      open.words.push(...words.slice(at, at + length))
      open.icon = match?.icon ?? null
      at += length
    }
  }
  // A pencil named first is a thing; "…, pencil" after another thing is how it is drawn.
  return found.filter(({ words, icon }, i) => (i === 0 && icon !== null) || !words.every((word) => QUALITIES.has(word)))
}

/** What a prompt asks to be shown. The subject named first is the main one; the rest of its sentence keeps it company. */
export function subjectsOf(prompt: string): Subjects {
  const text = prompt
    .slice(0, PROMPT_CHARACTERS_MAX)
    .toLowerCase()
    .replaceAll(/\b(?:bowl|plate|pot|glass|bottle|tray|mug|cup|pile|stack)s? of\b/g, ' ')
    .replaceAll(/['’]s\b/g, '')
  const [asked = '', style] = text.split(/\b(?:style|medium|the series|palette|format)\s*:/)
  const sentences = asked
    .split(/(?<![.;!?])[.;!?]+(?=\s|$)/)
    .map(nounPhrases)
    .filter((found) => found.length > 0)
  const found = style === undefined ? (sentences[0] ?? []) : sentences.flat()
  const [main] = found
  const icons = [...new Set(found.flatMap(({ icon }) => icon ?? []))]
  if (main === undefined || main.icon === null) {
    const words =
      main?.words.join(' ') ??
      asked
        .trim()
        .replace(/^(?:an?|the)\s/, '')
        .split(/\s+/)
        .slice(0, 6)
        .join(' ')
    return { icons: icons.slice(0, ICONS_MAX - 1), label: words.slice(0, LABEL_CHARACTERS_MAX) }
  }
  const saysMore = icons.some((icon) => icon !== PERSON && isPerson(icon))
  const told = icons.filter((icon) => icon !== PERSON || !saysMore).slice(0, ICONS_MAX)
  if (told[0] === PERSON && /\b(?:she|her)\b/.test(asked)) told[0] = 'woman'
  if (told[0] === PERSON && /\b(?:he|his)\b/.test(asked)) told[0] = 'man'
  return { icons: told, label: null }
}

const isPerson = (icon: string): boolean => iconsOf('People & Body').includes(icon)
