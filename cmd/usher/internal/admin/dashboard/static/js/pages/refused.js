import { get, post } from '../api.js'
import { confirmed } from '../dialog.js'
import { badge, button, empty, refill, h, link, simpleTable } from '../dom.js'
import { clock, count, exact, plural, since, span } from '../format.js'
import { cachedRoutes, keepFresh } from '../fresh.js'
import { to } from '../router.js'
import { say } from '../say.js'

export const title = () => 'Held and refused'

export const nameOf = (s) => (s.registry ? `${s.name}@${s.registry}` : s.name)

export function show(root, { scope }) {
  const body = h('div', { class: 'stack' })
  root.append(body)
  const again = keepFresh(
    root,
    scope,
    (stop) => Promise.all([get('/holds', { signal: stop }), cachedRoutes()]),
    ([holds, routes]) =>
      refill(
        body,
        holdList(holds, () => again()),
        refusalTable('Refused rules', routes.refused),
        refusalTable('Notices', routes.notices),
        conflictList(routes.conflicts)
      ),
    { period: 5000 }
  )
}

function part(title, n, ...children) {
  const id = `part-${title.toLowerCase().replaceAll(' ', '-')}`
  return h(
    'section',
    { class: 'card', 'aria-labelledby': id },
    h('header', { class: 'card-head' }, h('h2', { id }, title, h('span', { class: 'head-count' }, count(n)))),
    ...children
  )
}

function holdList(holds, again) {
  if (!holds.length) {
    return part(
      'Held instances',
      0,
      empty('Nothing is held', 'No registry lost instances that usher does not believe to be gone.')
    )
  }
  return part(
    'Held instances',
    holds.length,
    simpleTable(
      'Services with held instances',
      [
        ['Service'],
        ['Instances', 'num'],
        ['Since'],
        ['Why', 'wide'],
        ['Spared while usable', 'num'],
        ['Do', 'act']
      ],
      holds.map((s) => [
        link(to('services', [nameOf(s)]), nameOf(s)),
        count(s.hold.instances),
        h('span', { title: exact(s.hold.since) }, clock(s.hold.since)),
        s.hold.reason,
        count(s.hold.quorum),
        releaseButton(s, again)
      ])
    )
  )
}

// releaseButton lets the held instances of a service go.
export function releaseButton(s, again) {
  return button(
    'Release…',
    async () => {
      const sure = await confirmed(
        `Release the held instances of ${nameOf(s)}?`,
        `usher will believe the registry that ${plural(s.hold.instances, 'instance')} of ${nameOf(s)} are gone, and send them nothing more.`,
        'Release',
        'danger'
      )
      if (!sure) return
      try {
        const { released } = await post(`/holds/${encodeURIComponent(nameOf(s))}/release`)
        say(`${plural(released, 'instance')} of ${nameOf(s)} released`, 'ok')
      } catch (err) {
        say(err.message, 'bad')
      }
      again()
    },
    { class: 'button small', 'aria-label': `Release the held instances of ${nameOf(s)}` }
  )
}

// holdNote tells of a hold on a service's page.
export function holdNote(s, again) {
  return h(
    'div',
    { class: 'alert warn' },
    badge('warn', `${plural(s.hold.instances, 'instance')} held for ${span(since(s.hold.since))}`),
    h(
      'div',
      { class: 'alert-more' },
      h('p', {}, s.hold.reason),
      h('p', {}, `They are spared while at least ${plural(s.hold.quorum, 'listed instance')} can be used.`),
      releaseButton(s, again)
    )
  )
}

// refusalTable lists rules that are not served, or not as they may be meant.
export function refusalTable(title, list) {
  if (!list?.length) {
    return title === 'Notices'
      ? null
      : part(title, 0, empty('No rule is refused', 'All rules that were announced or written are served.'))
  }
  return part(
    title,
    list.length,
    simpleTable(
      title,
      [['Whose'], ['Where', 'wide'], ['Why', 'wide'], ['Served']],
      list.map((r) => [
        r.service
          ? link(to('services', [`${r.service}@${r.registry}`]), `${r.service}@${r.registry}`)
          : 'configuration',
        [h('code', {}, r.where), r.instance && h('div', { class: 'muted' }, `by ${r.instance}`)],
        r.reason,
        r.not_served ? badge('bad', 'no') : badge('warn', 'yes')
      ])
    )
  )
}

// conflictList lists the claims that others outrank.
export function conflictList(list) {
  if (!list?.length) return part('Conflicts', 0, empty('No conflict', 'No two rules claim the same match.'))
  return part(
    'Conflicts',
    list.length,
    simpleTable(
      'Conflicts',
      [
        ['Match', 'wide'],
        ['Served', 'wide'],
        ['Outranked', 'wide']
      ],
      list.map((c) => [h('code', {}, c.match), c.winner, c.loser])
    )
  )
}
