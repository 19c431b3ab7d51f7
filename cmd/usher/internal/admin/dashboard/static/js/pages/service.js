import { get } from '../api.js'
import { badge, card, empty, fill, refill, h, simpleTable } from '../dom.js'
import { bytes, clock, count, duration, exact, quantile, rate, since, span, tickTime, words } from '../format.js'
import { cachedRoutes, keepFresh } from '../fresh.js'
import { codeLines, errorLines, latencyLines } from '../lines.js'
import { events } from '../live.js'
import { plot } from '../plot.js'
import { history } from '../state.js'
import { eventList } from './events.js'
import { toneOfState } from '../tones.js'
import { holdNote, nameOf } from './refused.js'
import { routeColumns } from './routes.js'
import { stateBadge } from './services.js'

export const title = ([name]) => name

export function show(root, { parts: [name], scope }) {
  const body = h('div', { class: 'stack' })
  const some = { events: card('Its latest events'), list: h('div', {}) }
  some.events.append(some.list)
  root.append(body, some.events)
  const bare = name.split('@')[0]
  scope.add(
    events.subscribe((list) =>
      fill(
        some.list,
        eventList(
          list
            .filter((e) => e.service === name || e.service === bare || e.service?.split('@')[0] === bare)
            .slice(0, 10)
        )
      )
    )
  )
  const views = new Map()
  const again = keepFresh(
    root,
    scope,
    (stop) => read(name, stop),
    ([services, routes]) => {
      for (const s of services) {
        if (!views.has(nameOf(s)))
          views.set(
            nameOf(s),
            view(s, scope, () => again())
          )
        views.get(nameOf(s)).update(s, routes.routes)
      }
      const wanted = services.map((s) => views.get(nameOf(s)).root)
      if (wanted.length !== body.childElementCount || wanted.some((el, i) => body.children[i] !== el))
        body.replaceChildren(...wanted)
    },
    { period: 2000 }
  )
}

const read = (name, stop) =>
  Promise.all([get(`/services/${encodeURIComponent(name)}`, { signal: stop }), cachedRoutes()])

// view is a service of one registry.
function view(s, scope, again) {
  const parts = Object.fromEntries(['head', 'hold', 'instances', 'routes'].map((k) => [k, h('div', {})]))
  const plots = servicePlots(scope)
  const instances = card('Instances', { class: 'flush' }, parts.instances)
  const routes = card('Routes that lead to it', { class: 'flush' }, parts.routes)
  const root = h('div', { class: 'stack' }, parts.head, parts.hold, plots.root, instances, routes)
  return {
    root,
    update(now, all) {
      refill(parts.head, headOf(now))
      refill(parts.hold, now.hold ? holdNote(now, again) : null)
      refill(parts.instances, instanceTable(now))
      refill(parts.routes, routeTable(now, all))
      plots.add(now.totals)
    }
  }
}

function headOf(s) {
  const t = s.totals
  const fact = (label, ...what) => h('div', { class: 'fact' }, h('dt', {}, label), h('dd', {}, ...what))
  return h(
    'dl',
    { class: 'fact-row' },
    fact('State', stateBadge(s)),
    fact('Registry', s.registry),
    fact('Confirmed', h('span', { title: exact(s.confirmed) }, `${span(s.age_seconds)} ago`)),
    s.reason && fact('Not routed', s.reason),
    t && fact('Requests', count(t.requests)),
    t && fact('In flight', count(s.instances.reduce((n, i) => n + (i.in_flight ?? 0), 0))),
    t && fact('Sent', bytes(t.bytes_sent)),
    t && fact('Received', bytes(t.bytes_received))
  )
}

function servicePlots(scope) {
  const all = {
    requests: plot('Requests', { format: rate, note: 'a second, by answer' }),
    errors: plot('Errors that usher answers', { format: rate, note: 'a second, by reason' }),
    latency: plot('Latency', { format: duration, tick: tickTime, note: 'median and p99' })
  }
  for (const p of Object.values(all)) scope.add(p.destroy)
  const past = history()
  const root = h(
    'div',
    { class: 'plots three', role: 'group', 'aria-label': 'Traffic', hidden: true },
    Object.values(all).map((p) => p.figure)
  )
  return {
    root,
    add(totals) {
      if (!totals) return
      root.hidden = false
      past.add(totals, Date.now())
      const { points } = past
      const at = points.map((p) => p.at / 1000)
      all.requests.set(
        at,
        codeLines(points, (p) => p.codes)
      )
      all.errors.set(
        at,
        errorLines(points, (p) => p.errors)
      )
      all.latency.set(
        at,
        latencyLines(points, (p) => [quantile(0.5, p.durations, p.before), quantile(0.99, p.durations, p.before)])
      )
    }
  }
}

function instanceTable(s) {
  if (!s.instances.length) return empty('No instance', 'The registry lists none: requests are answered 503.')
  const places = s.instances.some((i) => i.zone || i.datacenter)
  return simpleTable(
    `Instances of ${nameOf(s)}`,
    [
      ['Instance'],
      ['Registry says'],
      ['usher says', 'wide'],
      ['Weight', 'num'],
      ['In flight', 'num'],
      ['Latency', 'num'],
      ['Probe'],
      ...(places ? [['Where']] : [])
    ],
    s.instances.map((i) => [
      [h('strong', { class: 'id' }, i.id), h('div', {}, h('code', {}, i.address))],
      [
        badge(toneOfState(i.status), i.status),
        i.cause && h('div', { class: 'cause' }, i.cause),
        i.held && badge('warn', 'held')
      ],
      healthOf(i),
      weightOf(i),
      count(i.in_flight),
      duration(i.latency_seconds),
      probeOf(i.health?.probe),
      ...(places ? [[i.zone, i.datacenter].filter(Boolean).join(', ')] : [])
    ])
  )
}

function weightOf(i) {
  const now = i.health?.effective_weight
  if (now === undefined || Math.abs(now - i.weight) < 0.005) return String(i.weight)
  return `${Number(now.toFixed(2))} of ${i.weight}`
}

function healthOf(i) {
  const v = i.health
  if (!v) return h('span', { class: 'muted' }, 'not routed')
  return [
    badge(toneOfState(v.state), words(v.state)),
    h('span', { class: 'muted', title: exact(v.since) }, ` since ${clock(v.since)}`),
    v.cause && h('div', { class: 'cause' }, v.cause),
    v.ejected_until && h('div', { class: 'cause' }, `ejected until ${clock(v.ejected_until)}`),
    v.ejections > 0 &&
      h('div', { class: 'cause' }, `ejected ${v.ejections === 1 ? 'once' : `${v.ejections} times`} of late`),
    v.panic && h('div', { class: 'cause' }, 'tried whatever its state: too few are healthy'),
    v.disagreement && h('div', { class: 'cause' }, 'registry and probes say different things')
  ]
}

function probeOf(p) {
  if (!p) return h('span', { class: 'muted' }, '–')
  return [
    badge(p.result === 'pass' ? 'ok' : 'bad', p.result === 'pass' ? 'passed' : 'failed'),
    h(
      'div',
      { class: 'muted', title: exact(p.at) },
      `${p.took_seconds > 0 ? `${duration(p.took_seconds)}, ` : ''}${span(since(p.at))} ago`
    ),
    p.error && h('div', { class: 'cause' }, p.error)
  ]
}

function routeTable(s, all) {
  const ids = new Set(s.routes ?? [])
  const full = nameOf(s)
  const routes = all.filter((r) => ids.has(r.id) || r.services.includes(full) || r.services.includes(s.name))
  if (!routes.length) return empty('No route leads to it', s.reason || '')
  const columns = routeColumns.filter((c) => c.key !== 'action')
  return simpleTable(
    `Routes to ${full}`,
    columns.map((c) => [c.title, c.key === 'match' ? 'wide' : '']),
    routes.slice(0, 200).map((r) => columns.map((c) => c.cell(r)))
  )
}
