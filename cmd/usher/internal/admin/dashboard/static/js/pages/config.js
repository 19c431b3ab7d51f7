import { get } from '../api.js'
import { badge, card, facts, fill, refill, h } from '../dom.js'
import { clock, count, plural } from '../format.js'
import { keepFresh } from '../fresh.js'
import { remember } from '../router.js'
import { choice, filterBox, virtualTable } from '../table.js'

export const title = () => 'Configuration'

const kinds = [
  ['all', 'All'],
  ['set', 'Set'],
  ['default', 'Defaults']
]
const isDefault = (s) => s.origin === 'default'
const keeps = { all: null, set: (s) => !isDefault(s), default: isDefault }

const valueOf = (v) => (typeof v === 'string' ? v : JSON.stringify(v))

const columns = [
  {
    key: 'path',
    title: 'Key',
    class: 'grow',
    sort: (s) => s.path,
    cell: (s) => h('code', { title: s.path }, s.path)
  },
  {
    key: 'value',
    title: 'Value',
    class: 'c-value',
    cell: (s) => h('code', { title: valueOf(s.value) }, valueOf(s.value))
  },
  {
    key: 'origin',
    title: 'Origin',
    class: 'c-origin',
    sort: (s) => s.origin,
    cell: (s) => h('span', { class: isDefault(s) ? 'muted' : '', title: s.origin }, s.origin)
  }
]

export function show(root, { query, scope }) {
  let words = query.get('q') ?? ''
  let kind = keeps[query.get('show')] === undefined ? 'all' : query.get('show')
  const head = h('div', { class: 'head' })
  const said = h('p', { class: 'count', role: 'status' })
  const table = virtualTable('Settings', {
    name: 'config',
    columns,
    search: (s) => `${s.path} ${valueOf(s.value)} ${s.origin}`,
    keyOf: (s) => s.path,
    onCount: (n, all) => {
      said.textContent = n === all ? plural(all, 'setting') : `${count(n)} of ${plural(all, 'setting')}`
    }
  })
  scope.add(table.destroy)
  const apply = () => {
    remember('config', [], { q: words, show: kind === 'all' ? '' : kind })
    table.filter(words, keeps[kind])
  }
  fill(
    root,
    head,
    h(
      'div',
      { class: 'bar' },
      filterBox('Filter settings: key, value, origin', words, (v) => {
        words = v
        apply()
      }),
      choice('Which settings', kinds, kind, (v) => {
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
    (stop) => get('/config', { signal: stop }),
    (c) => {
      refill(head, inForce(c))
      table.set(c.settings)
    }
  )
}

function inForce(c) {
  return card(
    'In force',
    {},
    facts([
      ['File', c.file ? h('code', {}, c.file) : 'none: the defaults'],
      ['Taken', clock(c.taken)],
      ['Hash', h('code', {}, c.hash)],
      c.refused?.length
        ? [
            'Refused',
            badge('bad', `a later one, at ${clock(c.refused_at)}`),
            h(
              'ul',
              { class: 'problems' },
              c.refused.map((p) => h('li', {}, p))
            )
          ]
        : null
    ])
  )
}
