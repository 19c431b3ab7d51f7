import { fill, h, link, setText, badge } from './dom.js'
import { clock, count, exact, since, span } from './format.js'
import { onEvent, streaming } from './live.js'
import { overview, reach } from './state.js'
import { announce, say } from './say.js'
import { to } from './router.js'

const at = (id) => document.getElementById(id)

// startShell keeps what surrounds the pages up to date: the state of usher, the counts in
// the navigation, and the banner when usher is not reached.
export function startShell() {
  overview.subscribe((o) => {
    if (!o) return
    showState(o)
    showCounts(o)
    tellChanges(o)
  })
  reach.subscribe(showReach)
  streaming.subscribe((on) => {
    at('live').classList.toggle('on', on)
    setText(at('live-text'), on ? 'live' : 'polling')
  })
  setInterval(() => {
    if (document.hidden) return
    showReach(reach.get())
    if (overview.get()) showState(overview.get())
  }, 1000)
  onEvent((e) => {
    if (e.level !== 'info') say(e.message, e.level === 'error' ? 'bad' : 'warn')
  })
}

// stateOf is the state of usher as a tone and a word.
export function stateOf(o) {
  if (!reach.get().ok) return ['bad', 'Unreachable']
  if (o.draining) return ['warn', 'Draining']
  return o.ready ? ['ok', 'Ready'] : ['bad', 'Not ready']
}

let shown = ''

function showState(o) {
  const [tone, word] = stateOf(o)
  const age = reach.get().ok ? since(o.swapped, o.now) : since(o.swapped)
  setText(at('generation'), count(o.generation))
  setText(at('generation-age'), `${span(age)} ago`)
  at('generation-link').title = `published ${exact(o.swapped)}`
  const key = `${tone} ${word} ${o.not_ready ?? ''} ${o.pinned ?? ''}`
  if (key === shown) return
  shown = key
  fill(
    at('state'),
    badge(tone, word, o.not_ready),
    o.pinned === undefined || o.pinned === null
      ? null
      : link(to('timeline'), badge('warn', `Pinned to ${count(o.pinned)}`))
  )
}

function showCounts(o) {
  const off = o.registries.reduce((n, r) => n + r.held_instances, 0) + o.refused_rules
  const counts = { routes: o.routes, services: o.services.routed, refused: off || '', certificates: '' }
  for (const [name, n] of Object.entries(counts)) {
    const el = document.querySelector(`[data-count=${name}]`)
    if (el) setText(el, n === '' ? '' : count(n))
  }
  document.title = `${document.title.split(' · ')[0]} · usher`
}

let before = null

// tellChanges says what an operator must not miss.
function tellChanges(o) {
  const now = { state: stateOf(o)[1], pinned: o.pinned ?? null, refused: o.config.refused_at ?? null }
  if (before) {
    if (now.state !== before.state) announce(`usher is now ${now.state.toLowerCase()}`)
    if (now.pinned !== before.pinned) {
      announce(now.pinned === null ? 'rules are no longer pinned' : `rules are pinned to generation ${now.pinned}`)
    }
    if (now.refused && now.refused !== before.refused) announce('a configuration was refused')
  }
  before = now
}

let wasOk = true

function showReach(r) {
  const banner = at('unreachable')
  const gone = !r.ok && !r.token
  document.body.classList.toggle('is-stale', gone)
  banner.hidden = !gone
  if (gone) {
    const last = r.at
      ? `What is shown is from ${clock(r.at)}, ${span((Date.now() - r.at) / 1000)} ago.`
      : 'Nothing has been heard of it yet.'
    setText(at('unreachable-since'), last)
    setText(at('unreachable-what'), r.silent ? 'usher does not answer' : 'The state of usher could not be read')
    setText(at('unreachable-why'), r.why)
  }
  if (wasOk !== r.ok && !r.token) {
    announce(r.ok ? 'usher answers again' : 'usher does not answer')
    if (overview.get()) {
      shown = ''
      showState(overview.get())
    }
  }
  wasOk = r.ok
}

// failure is what a page shows that could not be read.
export function failure(err, retry) {
  return h(
    'div',
    { class: 'empty bad', role: 'alert' },
    h('p', { class: 'empty-title' }, err.status === 404 ? 'There is no such thing here' : 'This could not be read'),
    h('p', {}, err.message),
    retry && h('button', { type: 'button', class: 'button', on: { click: retry } }, 'Try again')
  )
}
