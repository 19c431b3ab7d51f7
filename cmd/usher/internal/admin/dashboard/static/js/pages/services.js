import { get } from '../api.js'
import { badge, fill, h, link } from '../dom.js'
import { count, plural, span } from '../format.js'
import { keepFresh } from '../fresh.js'
import { remember, to } from '../router.js'
import { choice, filterBox, virtualTable } from '../table.js'
import { nameOf } from './refused.js'

export const title = () => 'Services'

// takes says that an instance is sent requests.
export const takes = (i) => {
  const state = i.health?.state ?? (i.status === 'passing' ? 'healthy' : i.status)
  return !['critical', 'unhealthy', 'ejected', 'maintenance', 'drained'].includes(state)
}

const usable = (s) => s.instances.filter(takes).length
const inFlight = (s) => s.instances.reduce((n, i) => n + (i.in_flight ?? 0), 0)
const wounded = (s) => s.routed && usable(s) < s.instances.length
const kinds = [
  ['all', 'All'],
  ['routed', 'Routed'],
  ['wounded', 'With instances out'],
  ['held', 'Held'],
  ['skipped', 'Skipped']
]
const keeps = {
  all: null,
  routed: (s) => s.routed,
  wounded,
  held: (s) => Boolean(s.hold),
  skipped: (s) => !s.routed
}

const columns = [
  {
    key: 'name',
    title: 'Service',
    class: 'grow',
    sort: (s) => s.name,
    cell: (s) => link(to('services', [nameOf(s)]), s.name)
  },
  { key: 'registry', title: 'Registry', class: 'c-registry', sort: (s) => s.registry, cell: (s) => s.registry },
  { key: 'state', title: 'State', class: 'c-state', sort: rank, cell: stateBadge },
  {
    key: 'usable',
    title: 'Usable',
    class: 'c-usable',
    sort: (s) => (s.instances.length ? usable(s) / s.instances.length : 0),
    cell: (s) => h('span', { class: 'num' }, `${count(usable(s))} of ${count(s.instances.length)}`)
  },
  { key: 'flight', title: 'In flight', class: 'c-flight num', sort: inFlight, cell: (s) => count(inFlight(s)) },
  {
    key: 'age',
    title: 'Confirmed',
    class: 'c-age',
    sort: (s) => s.age_seconds,
    cell: (s) => `${span(s.age_seconds)} ago`
  },
  { key: 'why', title: 'Note', class: 'c-why', cell: (s) => h('span', { title: noteOf(s) }, noteOf(s)) }
]

function rank(s) {
  if (!s.routed) return 4
  if (s.instances.length && usable(s) === 0) return 0
  return wounded(s) ? 1 : s.hold ? 2 : 3
}

// stateBadge is a service's state in two words.
export function stateBadge(s) {
  if (!s.routed) return badge('quiet', 'Skipped')
  if (usable(s) === 0) return badge('bad', 'Nothing usable')
  if (s.hold) return badge('warn', 'Holding')
  return wounded(s) ? badge('warn', 'Some out') : badge('ok', 'Healthy')
}

function noteOf(s) {
  if (s.reason) return s.reason
  if (s.hold) return s.hold.reason
  const out = s.instances.find((i) => !takes(i))
  return out ? `${out.id}: ${out.health?.cause || out.cause || out.status}` : ''
}

const searchOf = (s) => [s.name, s.registry, noteOf(s), ...s.instances.flatMap((i) => [i.id, i.address])].join(' ')

export function show(root, { query, scope }) {
  let words = query.get('q') ?? ''
  let kind = keeps[query.get('show')] === undefined ? 'all' : query.get('show')
  const said = h('p', { class: 'count', role: 'status' })
  const table = virtualTable('Services', {
    name: 'services',
    columns,
    search: searchOf,
    keyOf: nameOf,
    onCount: (n, all) => {
      said.textContent = n === all ? plural(all, 'service') : `${count(n)} of ${plural(all, 'service')}`
    }
  })
  scope.add(table.destroy)
  const apply = () => {
    remember('services', [], { q: words, show: kind === 'all' ? '' : kind })
    table.filter(words, keeps[kind])
  }
  fill(
    root,
    h(
      'div',
      { class: 'bar' },
      filterBox('Filter services: name, instance, address', words, (v) => {
        words = v
        apply()
      }),
      choice('Which services', kinds, kind, (v) => {
        kind = v
        apply()
      }),
      said
    ),
    table.root
  )
  apply()
  keepFresh(
    root,
    scope,
    (stop) => get('/services', { signal: stop }),
    (list) => table.set(list),
    { period: 5000 }
  )
}
