import { get, post } from '../api.js'
import { confirmed } from '../dialog.js'
import { badge, button, card, empty, facts, fill, h, link, refill } from '../dom.js'
import { clock, count, duration, exact, plural, rate, since, span, tickTime, words } from '../format.js'
import { events } from '../live.js'
import { plot } from '../plot.js'
import { poll } from '../poll.js'
import { to } from '../router.js'
import { say } from '../say.js'
import { failure, stateOf } from '../shell.js'
import { look, overview } from '../state.js'
import { codeLines, errorLines, latencyLines } from '../lines.js'
import { eventList } from './events.js'
import { registryTable } from '../registry.js'
import { toneOfState } from '../tones.js'

export const title = () => 'Overview'

export function show(root, { scope, tools }) {
  const parts = {
    alerts: h('div', { class: 'alerts' }),
    tiles: tiles(),
    registries: card('Registries'),
    services: card('Services'),
    about: card('This usher'),
    events: card('Latest events', { actions: link(to('events'), 'All events') })
  }
  const body = Object.fromEntries(['registries', 'services', 'about', 'events'].map((name) => [name, h('div', {})]))
  for (const [name, el] of Object.entries(body)) parts[name].append(el)
  const plots = trafficPlots(scope)
  fill(
    root,
    parts.alerts,
    parts.tiles.root,
    plots.root,
    h('div', { class: 'columns' }, parts.registries, parts.services),
    h('div', { class: 'columns' }, parts.events, parts.about)
  )

  scope.add(
    overview.subscribe((o) => {
      if (!o) return
      refill(parts.alerts, alerts(o))
      refill(body.registries, registryTable(o))
      refill(body.services, services(o))
      refill(body.about, about(o))
      refill(tools, actions(o))
    })
  )
  scope.add(events.subscribe((list) => fill(body.events, eventList(list.slice(0, 8)))))
  const reading = poll(async (stop) => {
    try {
      const t = await get('/traffic', { signal: stop })
      plots.set(t)
      parts.tiles.set(t, overview.get())
    } catch (err) {
      if (!stop.aborted && err.status) plots.fail(err, () => reading.now())
    }
  }, 2000)
  scope.add(() => reading.stop())
}

function alerts(o) {
  const list = []
  const [, word] = stateOf(o)
  if (o.draining) list.push(alert('warn', 'usher is draining', 'It is unready, and accepts what still comes.'))
  else if (!o.ready) list.push(alert('bad', `usher is ${word.toLowerCase()}`, o.not_ready))
  if (o.pinned !== undefined && o.pinned !== null) {
    list.push(
      alert(
        'warn',
        `The rules are pinned to generation ${o.pinned}`,
        'Changes of rules wait; instances follow the registry.',
        link(to('timeline'), 'To the timeline')
      )
    )
  }
  if (o.config.refused?.length) {
    list.push(
      alert(
        'bad',
        `A configuration was refused at ${clock(o.config.refused_at)}: the one before stays in force`,
        h(
          'ul',
          { class: 'problems' },
          o.config.refused.map((p) => h('li', {}, p))
        )
      )
    )
  }
  return list
}

function alert(tone, title, ...more) {
  return h('div', { class: `alert ${tone}` }, badge(tone, title), h('div', { class: 'alert-more' }, ...more))
}

// tiles are the figures of now.
function tiles() {
  const names = [
    ['requests', 'Requests', 'a second'],
    ['errors', 'Errors of usher', 'a second'],
    ['p50', 'Latency, median', ''],
    ['p99', 'Latency, p99', ''],
    ['flight', 'In flight', 'requests'],
    ['connections', 'Connections', 'open']
  ]
  const value = {}
  const root = h(
    'dl',
    { class: 'tiles' },
    names.map(([name, label, unit]) => {
      value[name] = h('span', { class: 'tile-value' }, '–')
      return h(
        'div',
        { class: 'tile', data: { tile: name } },
        h('dt', {}, label),
        h('dd', {}, value[name], h('span', { class: 'tile-unit' }, unit))
      )
    })
  )
  return {
    root,
    set(traffic, o) {
      const last = traffic.points.at(-1)
      if (!last) return
      const errors = Object.values(last.errors_per_second ?? {}).reduce((a, b) => a + b, 0)
      value.requests.textContent = rate(last.requests_per_second)
      value.errors.textContent = rate(errors)
      value.errors.closest('.tile').classList.toggle('bad', errors > 0)
      value.p50.textContent = duration(last.p50_seconds)
      value.p99.textContent = duration(last.p99_seconds)
      value.flight.textContent = count(o?.totals.in_flight ?? last.in_flight)
      value.connections.textContent = count(o?.totals.connections ?? last.connections)
    }
  }
}

function trafficPlots(scope) {
  const all = {
    requests: plot('Requests', { format: rate, note: 'a second, by answer' }),
    errors: plot('Errors that usher answers', { format: rate, note: 'a second, by reason' }),
    latency: plot('Latency', { format: duration, tick: tickTime, note: 'median and p99' }),
    flight: plot('In flight', { format: count, note: 'requests and connections' })
  }
  for (const p of Object.values(all)) scope.add(p.destroy)
  const problem = h('div', {})
  let drawn = false
  const root = h(
    'section',
    { class: 'plots', 'aria-label': 'Traffic' },
    problem,
    Object.values(all).map((p) => p.figure)
  )
  return {
    root,
    set({ points }) {
      fill(problem)
      drawn = true
      const at = points.map((p) => new Date(p.at).getTime() / 1000)
      all.requests.set(
        at,
        codeLines(points, (p) => p.codes_per_second)
      )
      all.errors.set(
        at,
        errorLines(points, (p) => p.errors_per_second)
      )
      all.latency.set(
        at,
        latencyLines(points, (p) => [p.p50_seconds, p.p99_seconds])
      )
      all.flight.set(at, [
        { name: 'flight', label: 'requests', colour: 'line-1', values: points.map((p) => p.in_flight) },
        { name: 'connections', label: 'connections', colour: 'line-3', values: points.map((p) => p.connections) }
      ])
    },
    fail: (err, retry) => drawn || fill(problem, failure(err, retry)) // of what was drawn the banner tells
  }
}

function services(o) {
  const { seen, routed, skipped } = o.services
  return [
    h(
      'p',
      { class: 'lead' },
      `${plural(seen, 'service')} seen, `,
      link(to('services'), `${count(routed)} routed`),
      `, ${count(seen - routed)} skipped.`
    ),
    skipped?.length
      ? h(
          'ul',
          { class: 'reasons' },
          skipped.map((s) =>
            h(
              'li',
              {},
              h('span', { class: 'num' }, count(s.count)),
              h(
                'span',
                {},
                s.reason,
                s.examples?.length
                  ? h(
                      'span',
                      { class: 'muted' },
                      ` (${s.examples.join(', ')}${s.examples.length < s.count ? ', …' : ''})`
                    )
                  : ''
              )
            )
          )
        )
      : null,
    h('h3', {}, 'Instances'),
    h(
      'ul',
      { class: 'states' },
      Object.entries(o.instances.states ?? {}).map(([state, n]) =>
        h('li', {}, badge(toneOfState(state), `${count(n)} ${words(state)}`))
      ),
      o.instances.total === 0 ? h('li', {}, 'none') : null
    ),
    h(
      'p',
      {},
      link(to('routes'), plural(o.routes, 'route')),
      ', ',
      link(to('refused'), `${plural(o.refused_rules, 'refused rule')}, ${plural(o.conflicts, 'conflict')}`)
    )
  ]
}

function about(o) {
  return [
    facts([
      ['Version', o.version],
      ['Running', `${span(since(o.started, o.now))}, since ${clock(o.started)}`],
      ['Generation', link(to('timeline'), count(o.generation)), ` published ${clock(o.swapped)}`],
      [
        'Configuration',
        link(to('config'), o.config.file || 'none: the defaults'),
        ` taken ${clock(o.config.taken)}`
      ],
      ['Answered', `${count(o.totals.requests)} requests since the start`]
    ]),
    h('h3', {}, 'Listeners'),
    o.listeners?.length
      ? h(
          'ul',
          { class: 'listeners' },
          o.listeners.map((l) =>
            h(
              'li',
              {},
              h('strong', {}, l.name),
              ` ${l.protocol} `,
              h('code', { title: exact(o.now) && l.address }, l.address)
            )
          )
        )
      : empty('No listener')
  ]
}

function actions(o) {
  const act = (path, done) => async () => {
    try {
      await post(path)
      say(done, 'ok')
    } catch (err) {
      say(err.message, 'bad')
    }
    look()
  }
  const drain = async () => {
    const sure = await confirmed(
      'Drain this usher?',
      'It becomes unready, so that load balancers send it nothing new. It goes on to serve what still comes.',
      'Drain',
      'danger'
    )
    if (sure) await act('/drain', 'usher is draining')()
  }
  return [
    button('Reload configuration', act('/reload', 'the configuration was read again'), { class: 'button small' }),
    o.draining
      ? button('End the drain', act('/undrain', 'usher is no longer draining'), { class: 'button small' })
      : button('Drain…', drain, { class: 'button small' })
  ]
}
