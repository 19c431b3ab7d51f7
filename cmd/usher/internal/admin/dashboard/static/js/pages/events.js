import { badge, empty, fill, h, keyed, link } from '../dom.js'
import { clock, exact, plural } from '../format.js'
import { events, streaming } from '../live.js'
import { remember, to } from '../router.js'
import { choice, filterBox } from '../table.js'

export const title = () => 'Events'

const tones = { info: 'info', warn: 'warn', error: 'bad' }
const levels = [
  ['info', 'All'],
  ['warn', 'Warnings and errors'],
  ['error', 'Errors']
]
const rank = { info: 0, warn: 1, error: 2 }

function line(e) {
  return h(
    'li',
    { class: `event ${e.level}` },
    h('time', { datetime: e.at, title: exact(e.at) }, clock(e.at)),
    badge(tones[e.level] ?? 'info', e.kind),
    h('span', { class: 'event-text' }, e.message),
    h(
      'span',
      { class: 'event-about' },
      e.service && link(to('services', [e.service]), e.service),
      e.generation ? link(to('timeline', [e.generation]), `generation ${e.generation}`) : null
    )
  )
}

// eventList is a short list of events.
export function eventList(list) {
  if (!list.length) return empty('Nothing has happened yet')
  return h('ol', { class: 'events' }, list.map(line))
}

export function show(root, { query, scope }) {
  let words = (query.get('q') ?? '').toLowerCase()
  let level = rank[query.get('level')] === undefined ? 'info' : query.get('level')
  const said = h('p', { class: 'count', role: 'status' })
  const list = h('ol', { class: 'events', 'aria-label': 'Events, the newest first' })
  const none = h('div', {})
  const way = h('p', { class: 'muted' })

  function draw() {
    remember('events', [], { q: words, level: level === 'info' ? '' : level })
    const all = events.get()
    const some = all.filter(
      (e) =>
        rank[e.level] >= rank[level] &&
        `${e.kind} ${e.message} ${e.service ?? ''} ${e.instance ?? ''}`.toLowerCase().includes(words)
    )
    keyed(list, some, (e) => e.id, line)
    said.textContent =
      some.length === all.length ? plural(all.length, 'event') : `${some.length} of ${plural(all.length, 'event')}`
    fill(
      none,
      some.length ? null : empty('No event', all.length ? 'None fits the filter.' : 'Nothing has happened yet.')
    )
  }

  fill(
    root,
    h(
      'div',
      { class: 'bar' },
      filterBox('Filter events', words, (v) => {
        words = v.toLowerCase()
        draw()
      }),
      choice('Which events', levels, level, (v) => {
        level = v
        draw()
      }),
      said
    ),
    way,
    h('div', { class: 'card flush' }, list, none)
  )
  scope.add(events.subscribe(draw))
  scope.add(
    streaming.subscribe((on) => {
      way.textContent = on ? 'They appear as they happen.' : 'The stream of events is not open; it is tried again.'
    })
  )
}
