import { get } from '../api.js'
import { badge, fill, h, link } from '../dom.js'
import { count, plural } from '../format.js'
import { keepFresh } from '../fresh.js'
import { remember, to } from '../router.js'
import { choice, filterBox, virtualTable } from '../table.js'
import { conflictList, refusalTable } from './refused.js'

export const title = () => 'Routes'

const kinds = [
  ['all', 'All'],
  ['conflicts', 'Outranking others'],
  ['down', 'Nothing usable'],
  ['conditions', 'With conditions'],
  ['refused', 'Refused']
]

const match = (r) => `${r.hosts?.length ? r.hosts.join(', ') : '*'}${r.path}`
const isDown = (r) => r.endpoints > 0 && r.usable === 0
const keeps = {
  all: null,
  conflicts: (r) => r.conflicts > 0,
  down: isDown,
  conditions: (r) => r.conditions?.length > 0,
  refused: null
}

// columnsOf are those of the table of routes.
export const routeColumns = [
  {
    key: 'match',
    title: 'Matches',
    class: 'grow',
    sort: match,
    cell: (r) => link(to('explain', [], { url: urlOf(r) }), h('code', { title: match(r) }, match(r)))
  },
  {
    key: 'type',
    title: 'Path',
    class: 'c-type',
    sort: (r) => r.path_type,
    cell: (r) => h('span', { class: 'muted' }, r.path_type)
  },
  { key: 'conditions', title: 'If', class: 'c-if', cell: (r) => text((r.conditions ?? []).join('; ')) },
  { key: 'action', title: 'Does', class: 'c-does', sort: (r) => r.action, cell: actionOf },
  { key: 'owner', title: 'Owner', class: 'c-owner', sort: (r) => r.owner, cell: (r) => text(r.owner) },
  { key: 'source', title: 'Source', class: 'c-source', sort: (r) => r.source, cell: (r) => text(r.source) },
  {
    key: 'usable',
    title: 'Usable',
    class: 'c-usable',
    sort: (r) => (r.endpoints ? r.usable / r.endpoints : 2),
    cell: usable
  },
  {
    key: 'conflicts',
    title: 'Conflicts',
    class: 'c-conflicts',
    sort: (r) => r.conflicts ?? 0,
    cell: (r) =>
      r.conflicts
        ? badge('warn', count(r.conflicts), `outranks ${plural(r.conflicts, 'claim')} of the same match`)
        : ''
  }
]

const text = (s) => h('span', { title: s }, s)

// actionOf names what is done; a single service leads to its page.
function actionOf(r) {
  const action = r.action || (r.services.length ? `to ${r.services.join(', ')}` : '')
  if (r.services.length !== 1) return text(action)
  return h('a', { href: to('services', [r.services[0]]), title: action }, action)
}

function usable(r) {
  if (!r.endpoints) return h('span', { class: 'muted' }, '–')
  const all = `${count(r.usable)} of ${count(r.endpoints)}`
  return r.usable === r.endpoints ? h('span', { class: 'num' }, all) : badge(r.usable ? 'warn' : 'bad', all)
}

// urlOf is a request that a route may match, to be explained.
export function urlOf(r) {
  const host = (r.hosts?.[0] ?? 'localhost').replaceAll('*', 'any')
  const path = r.path_type === 'prefix' || r.path_type === 'exact' || r.path_type === 'iprefix' ? r.path : '/'
  return `http://${host}${path.startsWith('/') ? path : `/${path}`}`
}

const searchOf = (r) =>
  [
    ...(r.hosts ?? []),
    match(r),
    r.path_type,
    r.owner,
    r.source,
    r.action,
    r.id,
    ...r.services,
    ...(r.conditions ?? []),
    ...(r.listeners ?? [])
  ].join(' ')

export function show(root, { query, scope }) {
  let words = query.get('q') ?? ''
  let kind = keeps[query.get('show')] === undefined ? 'all' : query.get('show')
  let last = null
  const said = h('p', { class: 'count', role: 'status' })
  const table = virtualTable('Routes', {
    name: 'routes',
    columns: routeColumns,
    search: searchOf,
    keyOf: (r) => r.id,
    onCount: (n, all) => {
      said.textContent = n === all ? plural(all, 'route') : `${count(n)} of ${plural(all, 'route')}`
    }
  })
  scope.add(table.destroy)
  const refused = h('div', { class: 'stack' })

  function apply() {
    remember('routes', [], { q: words, show: kind === 'all' ? '' : kind })
    table.root.hidden = kind === 'refused'
    refused.hidden = kind !== 'refused'
    if (kind === 'refused') said.textContent = ''
    else table.filter(words, keeps[kind])
  }

  fill(
    root,
    h(
      'div',
      { class: 'bar' },
      filterBox('Filter routes: host, path, owner, service', words, (v) => {
        words = v
        apply()
      }),
      choice('Which routes', kinds, kind, (v) => {
        kind = v
        apply()
      }),
      said
    ),
    table.root,
    refused
  )
  apply()
  keepFresh(
    root,
    scope,
    (stop) => get('/routes', { signal: stop }),
    (data) => {
      if (data === last) return
      last = data
      table.set(data.routes)
      fill(
        refused,
        refusalTable('Refused rules', data.refused),
        refusalTable('Notices', data.notices),
        conflictList(data.conflicts)
      )
      if (kind === 'refused') said.textContent = plural(data.refused.length, 'refused rule')
    }
  )
}
