import { badge, empty, h } from './dom.js'
import { clock, count, exact, plural, since, span } from './format.js'

// freshness says the truth on how old what a registry told is.
function freshness(r, now) {
  const lines = []
  if (r.last_contact) lines.push(['', `heard of ${span(since(r.last_contact, now))} ago`, exact(r.last_contact)])
  else lines.push(['warn', 'never heard of', ''])
  if (r.snapshot) lines.push(['warn', `serving the snapshot of ${clock(r.snapshot)}`, exact(r.snapshot)])
  if (r.error) lines.push(['bad', `stale: ${r.error}`, ''])
  if (r.doubt) lines.push(['warn', `answers in doubt: ${r.doubt}`, ''])
  if (r.held_instances > 0) lines.push(['warn', `holding ${plural(r.held_instances, 'instance')}`, ''])
  return lines.map(([tone, text, title]) => h('div', { class: tone && `tone-${tone}`, title }, text))
}

function state(r) {
  if (r.error) return badge('bad', 'Stale')
  if (!r.synced) return badge('warn', 'Not synced')
  if (r.doubt) return badge('warn', 'In doubt')
  return r.held_instances > 0 ? badge('warn', 'Holding') : badge('ok', 'Fresh')
}

// registryTable is what is known of each registry, and how old it is.
export function registryTable(o) {
  if (!o.registries?.length) return empty('No registry', 'Routes come from the configuration alone.')
  return h(
    'ul',
    { class: 'registries' },
    o.registries.map((r) =>
      h(
        'li',
        {},
        h(
          'div',
          { class: 'registry-head' },
          h('strong', {}, r.name),
          state(r),
          h(
            'span',
            { class: 'muted' },
            `${plural(r.services_seen, 'service')}, ${count(r.services_watched)} watched`
          )
        ),
        h(
          'div',
          { class: 'registry-more' },
          freshness(r, o.now),
          r.contact && h('div', { class: 'muted' }, `at ${r.contact}`)
        )
      )
    )
  )
}
