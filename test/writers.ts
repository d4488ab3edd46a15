// What language models write for the shipped templates: answers of real length, as long and as many as a prompt asks for.
// Hides the texts. They were written for such prompts field by field, and know nothing of how an estimate is made.
import { isJsonObject, type JsonObject, type JsonValue, textOf } from '@fabrique/schema'

/** Texts by the name of the field that they were written for, in turn where there are several. */
const WRITTEN: Record<string, string[]> = {
  title: [
    'Saying no without a reason',
    'Why an octopus keeps three hearts',
    'The week the lamps went dark',
    'How bees make honey',
  ],
  subtitle: ['How the last keepers left their towers, and what went out with them besides the light.'],
  fact: [
    'A honey bee has to visit about two million flowers to make one jar of honey. In her whole life, one bee makes less than a teaspoon.',
  ],
  activity: [
    'Find the bee that is carrying pollen on her legs. Draw a line from her to the flower that she came from, then count how many bees are on their way home.',
  ],
  words: ['nectar', 'pollen', 'hive', 'honeycomb', 'wings', 'worker bee'],
  picture_description: [
    'A large honey bee stands on an open flower in the middle of the page, seen from the side, her tongue in the blossom and round lumps of pollen on her hind legs. To the right, three more bees fly towards a wooden hive with its roof set aside, so that the cells of the comb can be seen. Below, two tall grass blades and one closed bud.',
  ],
  'scenes/picture_description': [
    'An octopus rests on a reef ledge, one arm curled round a shell, three soft shapes just visible under its skin; pale sand below, open water above.',
    'A keeper’s enamel mug stands on the sill of a round window, half full, the sea behind it grey and flat in the first light of a winter morning.',
    'A brass lens the height of a man, seen close, its prisms catching one thin line of sun; the rest of the lamp room lies in shade.',
    'A wet rope runs from an iron ring into dark water; on the quay beside it, one pair of rubber boots, toes turned inward.',
    'A desk with a logbook open at its last page, the pen laid across it, the chair pushed back; dust stands in the light of a low window.',
    'Three blue tubes of blood vessels branch through a clear mantle like roots in ice, drawn large against black water, the lower third empty.',
  ],
  angle: [
    'The lamps were automated to save lives and money, and did; what nobody had counted was that a tower with a person in it had been a kind of promise.',
  ],
  stakes: [
    'For a man who had slept in four-hour watches for thirty years, it decided whether his knowledge of one piece of water was worth anything to anybody.',
  ],
  claim: [
    'The last manned lighthouse in England, North Foreland, was automated in 1998.',
    'Keepers wrote a log entry for each watch, with weather, visibility, and the hours for which the fog signal sounded.',
    'Fog signals were switched off at most stations once ships carried radar and satellite positions.',
    'Keepers on rock stations commonly served two months on and one month ashore.',
    'The relief was often late by days or weeks, since a boat could land only in calm weather.',
    'Families lived in shore cottages that belonged to the service, and had to leave them when the post ended.',
    'Some keepers were kept on as visiting attendants and came back every few weeks to the towers they had lived in.',
    'The lenses rotated on a bath of mercury, which keepers strained through chamois leather by hand.',
    'Fishermen complained of the silence of the horns more than of any change in the lights.',
  ],
  how_to_check: [
    'The published annual reports of the lighthouse authority give the date for each station.',
    'Logbooks of this kind are kept in national archives and in several harbour museums.',
    'Ask a historian of navigation, or look at notices to mariners from those years.',
    'Interviews with former keepers, of which regional sound archives hold many.',
  ],
  certainty_heading: ['What this essay leaves open'],
  certainty_note: [
    '- How many keepers were asked before the decision is not recorded in anything known to the writer; minutes of the authority would settle it.\n- That fishermen missed the horns is told in many memoirs and in no survey. A sound archive with interviews from the eighties would be the place to look.\n- The effect of mercury on keepers’ health is disputed: some physicians suspected it, and no study followed the men for long enough.\n- The date of the last manned station differs between countries, and here only the English one is meant.',
  ],
  heading: [
    'The log that stopped mid-page',
    'Four hours on, eight hours off',
    'What the horn was for',
    'A house that went with the job',
    'The man who came to dust',
    'Someone is awake',
  ],
  purpose: [
    'The reader sees that the work was attention, of which the light was only the visible part.',
    'The reader feels the length of a watch, and why it made people careful with each other.',
    'The reader learns what was gained, in lives and in money, without any irony.',
    'The reader understands who paid for the change, and how quietly it was done.',
  ],
  uses: [
    'Keepers wrote a log entry for each watch, with weather, visibility, and the hours for which the fog signal sounded.',
    'The relief was often late by days or weeks, since a boat could land only in calm weather.',
  ],
  opening_image: [
    'A pen lies across a page that ends in the middle of a sentence about the wind.',
    'A kettle that is filled for two and stands on a stove for three.',
    'A horn, painted every spring for ninety years, with a swallow’s nest in its mouth.',
  ],
  hands_over: [
    'If the light can mind itself, what exactly had the person been minding?',
    'A routine that nobody sees can still be the thing that others sail by.',
    'Nobody had asked what the sound was for, apart from ships.',
  ],
  series: [
    'Slate blue, bone white, rust and one warm ochre; low winter light from the left; the viewer stands two steps away, at the height of a seated person, and nothing in the picture looks back.',
  ],
  alt: [
    'An enamel mug on the sill of a round window, with a grey, flat sea behind it.',
    'Part of a very large brass and glass lens in shadow, lit along one edge.',
    'A pair of rubber boots beside a rope that disappears into dark water.',
  ],
  caption: [
    'The keepers’ tea was provisioned by weight; nobody had thought to provide milk.',
    'It took two people a whole morning to clean, and they were not supposed to talk while they did it.',
    'You do not owe anyone the reason. Try it once this week, on something small, and notice how little happens.',
  ],
  hook: [
    'I spent a year answering conversations that never took place.',
    'Your brain isn’t broken. It is trying to finish a sentence that somebody else started.',
    'There’s a text on my phone that I have rewritten eleven times, and I still haven’t sent it.',
    'What would you do tonight with the two hours that this worry is going to take?',
    'The people who overthink are usually the ones who were once right about something terrible.',
    'Three in the morning is not when the truth comes out. It is when you are tired.',
  ],
  pattern: ['confession', 'reframing', 'small scene', 'direct question', 'odd fact', 'contrast'],
  why: [
    'It admits something slightly ridiculous that this listener does as well, so they stay to hear whether it stopped.',
    'It takes the blame away in the first breath and then leaves a picture that needs explaining.',
    'Everyone has such a message, and the number makes it a story instead of an opinion.',
    'It turns a vague feeling into a price, and the listener starts counting before the next sentence.',
  ],
  topic_title: ['The repair that cost less than the box it came in'],
  reason: [
    'She has mended things for thirty years and is tired of pretending that it is about money; it is about not being talked out of what your hands know.',
  ],
  line: [
    'An octopus has three hearts, and one of them stops every time it swims.',
    'Two push blood through the gills, where it is thin and slow to move.',
    'The third sends it round the body, and it hates long distances.',
    'So an octopus that has to flee would rather crawl than swim.',
    'Its blood is blue, because it carries copper where ours carries iron.',
    'That works well in the cold, where iron would do the job badly.',
    'But copper makes blood thick, and thick blood needs a stronger pump.',
    'Three hearts are what it costs to stay clever in cold water.',
  ],
  shape: ['validation', 'correction', 'pattern interrupt'],
  loses_them_at: [
    'The third sentence explains what the second has already shown, and a listener with a bus to catch is gone by then.',
    'The kettle is one image too many; they will still be looking at it when the turn comes.',
    'The ending promises relief and then asks for homework.',
  ],
  actor_description: [
    'A physiotherapist of about fifty with cropped grey hair, broad shoulders and reading glasses pushed up, in a faded green work shirt, at the end of a day on which nobody was late.',
  ],
  cover_description: [
    'She sits sideways on the edge of a treatment table in an empty practice, rolling down one sleeve, the blinds half closed behind her and the last sun on the floor; the wall above her is plain and pale.',
  ],
  hashtags: ['boundaries', 'sayingno', 'peoplepleasing', 'burnoutrecovery'],
}
WRITTEN.best_hook = WRITTEN.hook as string[]
WRITTEN['beats/picture_description'] = WRITTEN['scenes/picture_description'] as string[]

/** Sentences that people say, and that they write; a text is made of as many as it takes. */
const SPOKEN = [
  'You got the invitation on Tuesday, and you have been tired about it since Tuesday.',
  'You don’t want to go.',
  'You have known that for three days.',
  'So you start looking for a reason, because a no without a reason feels like a slap.',
  'A cold would do, or a deadline, or a cousin.',
  'And the moment you send it, you have to keep it alive.',
  'You have to remember which cousin it was.',
  'Here is what nobody told you when you were nine: the reason was never for them.',
  'It was for the part of you that still waits to be excused from the table.',
  'People hear a reason and they do what people do, they help.',
  'They move the date, they offer you a lift, they bring soup.',
  'Now you are in a negotiation about an evening you never wanted.',
  'Try it the other way once.',
  'Thank you for asking me, I can’t come.',
  'Then put the phone face down and count to sixty.',
  'Nothing falls off the wall.',
  'Nobody writes back to ask for evidence.',
  'Mostly they say shame, another time, and they mean it.',
  'The quiet afterwards is not guilt.',
  'It is just what it sounds like when you have not lied to anyone.',
]
const PROSE = [
  'The pen lies where he put it down, across a page that ends in the middle of a line about the wind.',
  'Nobody closed the book.',
  'On the sill there is a mug with a brown ring in it, and beyond the glass the sea does what it did on every other morning in the log: south-westerly, moderate, good.',
  'He had written those words some eleven thousand times, and each time he had first gone out on the gallery to look.',
  'That was the part of the work that no drawing of the station shows.',
  'The lamp needed trimming, the lens wanted dusting, the weights had to be wound, and all of that could be given to a motor and a clock; but somebody had also been standing there, four hours at a stretch, with nothing to do but notice.',
  'A trawler that came in late got noticed.',
  'So did a bird on the wrong side of winter, or a smell of paraffin where there should be none.',
  'Most of what he noticed was of no use to anybody, and he wrote it down all the same, since you could not tell beforehand which of it would be.',
  'When the engineers came they were polite, and good at what they did.',
  'They fixed a grey box to the wall, no larger than a bread bin, and for a week the two of them worked side by side: the man went up at dusk and found that the light was already on.',
  'By the reckoning of the authority the change paid for itself within four years, and there is no reason to doubt the figures.',
  'Ships did not run aground more often.',
  'Probably fewer men fell down wet stairs.',
]

/** Sentences that together have about so many words, as somebody writes who counts. */
function sentencesOf(pool: string[], words: number, from: number): string[] {
  const text: string[] = []
  let left = words
  for (let at = from, passed = 0; left > 3 && passed < pool.length; at += 1) {
    const sentence = pool[at % pool.length] as string
    const length = sentence.split(' ').length
    passed = length > left + 2 ? passed + 1 : 0
    if (passed > 0) continue
    text.push(sentence)
    left -= length
  }
  return text
}

/** An answer to the prompt that fits the schema: lists and scripts are as long as it asks for. */
export function writeAnswer(prompt: string, schema: JsonObject): JsonValue {
  const [, exactly] = /exactly (\d+)/.exec(prompt) ?? []
  const [, seconds] = /(\d+) seconds/.exec(prompt) ?? []
  const shows = /the caption of a beat is (.*)\./.exec(prompt)?.[1] ?? ''

  function write(part: JsonObject, name: string, nth: number, within = ''): JsonValue {
    const { type, properties, items, enum: choices, minItems, maxItems, maxLength } = part
    if (Array.isArray(choices)) return choices[nth % choices.length] as JsonValue
    if (type === 'object') {
      const members = Object.entries(properties as Record<string, JsonObject>)
      const value = Object.fromEntries(members.map(([key, member]) => [key, write(member, key, nth, name)]))
      // A caption of a short is made of its line.
      if (name === 'beats' && typeof value.line === 'string') {
        const words = value.line.split(' ')
        const few = shows.startsWith('the one or two') ? 2 : shows.startsWith('the rhythmic') ? 5 : words.length
        value.caption = words.slice(0, few).join(' ')
      }
      return value
    }
    if (type === 'array') {
      const usual = { facts: 9, words: 5, uses: 2, hashtags: 4 }[name]
      const asked = usual ?? (maxItems === minItems ? Number(minItems) : Number(exactly))
      return Array.from({ length: asked }, (_, index) => write(items as JsonObject, name, index))
    }
    if (name === 'script') return sentencesOf(SPOKEN, Number(seconds ?? 30) * 2.5, nth * 3).join(' ')
    if (name === 'body') {
      const all = sentencesOf(PROSE, 185, nth * 2)
      return [all.slice(0, 4), all.slice(4, 7), all.slice(7)].map((paragraph) => paragraph.join(' ')).join('\n\n')
    }
    const pool = WRITTEN[`${within}/${name}`] ?? WRITTEN[name]
    if (pool === undefined) throw new Error(`nobody has written a text for "${name}"`)
    const text = pool[nth % pool.length] as string
    return typeof maxLength === 'number' && text.length > maxLength ? text.slice(0, maxLength) : text
  }

  const value = write(schema, '', 0)
  if (isJsonObject(value) && Array.isArray(value.hooks)) value.best_hook = textOf((value.hooks[0] as JsonObject).hook)
  return value
}
