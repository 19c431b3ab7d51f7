import { onRefused, token } from './api.js'
import { askToken } from './dialog.js'
import { fill, h } from './dom.js'
import { follow } from './live.js'
import { forgo, parse } from './router.js'
import { announce } from './say.js'
import { startShell } from './shell.js'
import { scope } from './signal.js'
import { look, watchOverview } from './state.js'

import * as certificates from './pages/certificates.js'
import * as config from './pages/config.js'
import * as events from './pages/events.js'
import * as explain from './pages/explain.js'
import * as overview from './pages/overview.js'
import * as refused from './pages/refused.js'
import * as routes from './pages/routes.js'
import * as service from './pages/service.js'
import * as services from './pages/services.js'
import * as timeline from './pages/timeline.js'

const pages = { overview, routes, services, timeline, refused, explain, certificates, config, events }

const main = document.getElementById('main')
const nav = document.getElementById('nav')
let open = null
let opened = ''

// show puts the page that the address names into the middle. The focus goes to its title
// when the page is another, so that a screen reader starts there.
function show() {
  forgo()
  const { name, parts, query } = parse(location.hash)
  const page = name === 'services' && parts.length ? service : pages[name]
  open?.close()
  open = scope()
  const title = page?.title(parts) ?? 'No such page'
  document.title = `${title} · usher`
  const heading = h('h1', { id: 'title', tabindex: '-1' }, title)
  const root = h('div', { class: `page page-${page ? name : 'none'}` })
  fill(main, h('div', { class: 'page-head' }, heading, h('div', { class: 'page-tools', id: 'tools' })), root)
  mark(name)
  if (page) page.show(root, { parts, query, scope: open, tools: document.getElementById('tools') })
  else fill(root, h('p', {}, 'The address names no page of this dashboard.'))
  const key = [name, ...parts].join('/')
  if (opened && opened !== key) {
    heading.focus({ preventScroll: true })
    scrollTo(0, 0)
    announce(title)
  }
  opened = key
}

// mark says in the navigation which page it is.
function mark(name) {
  for (const a of document.querySelectorAll('#nav a')) {
    if (a.dataset.page === name) {
      a.setAttribute('aria-current', 'page')
      nav.scrollTo({ left: a.offsetLeft - nav.clientWidth / 3 }) // on narrow screens it is one line
    } else {
      a.removeAttribute('aria-current')
    }
  }
}

// The address behind # names a page, so the link past the navigation cannot use it.
document.getElementById('skip').addEventListener('click', (event) => {
  event.preventDefault()
  main.focus()
})

// "/" goes to the filter of the page, as in many a tool.
document.addEventListener('keydown', (event) => {
  if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey) return
  if (event.target.closest?.('input, textarea, select, dialog')) return
  const filter = document.querySelector('[data-filter]')
  if (filter) {
    event.preventDefault()
    filter.focus()
    filter.select()
  }
})

let asking = false

onRefused(async () => {
  if (asking) return
  asking = true
  token.set(await askToken(Boolean(token.get())))
  asking = false
  show()
  look()
})

addEventListener('hashchange', show)
startShell()
watchOverview()
show()
follow()
