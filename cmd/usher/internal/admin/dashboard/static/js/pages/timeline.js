import { get, post, query as search } from '../api.js'
import { confirmed } from '../dialog.js'
import { badge, button, card, empty, fill, refill, h, keyed, link, setText } from '../dom.js'
import { clock, count, duration, exact, plural } from '../format.js'
import { keepFresh } from '../fresh.js'
import { to } from '../router.js'
import { say } from '../say.js'

export const title = () => 'Timeline'

const tones = { added: 'ok', removed: 'bad', changed: 'info' }
const signs = { added: '+', removed: '−', changed: '~' }

// covers says that a generation is, or has among the equal ones that are a part of it, the
// table of a number.
const covers = (g, n) => n !== null && n !== undefined && n >= g.number && n <= Math.max(g.number, g.last ?? 0)

const numberOf = (g) => (g.last > g.number ? `${count(g.number)}–${count(g.last)}` : count(g.number))

export function show(root, { parts: [number], query, scope, tools }) {
  const pair = query.has('from') ? [query.get('from'), query.get('to')] : null
  const list = h('ol', { class: 'generations', 'aria-label': 'Generations, the newest first' })
  const detail = h('div', { class: 'stack', id: 'generation' })
  const compare = comparison(pair)
  root.append(
    h(
      'div',
      { class: 'split' },
      h('section', { class: 'card flush', 'aria-label': 'Generations' }, list),
      h('div', { class: 'stack' }, compare.root, detail)
    )
  )
  let shown = ''

  async function open(data, stop) {
    const wanted = pair ? `diff ${pair}` : (number ?? String(data.current))
    const key = `${wanted} ${data.pinned}` // what is pinned cannot be pinned
    if (shown === key) return
    try {
      fill(
        detail,
        pair
          ? diffView(await get(`/generations/diff${search({ from: pair[0], to: pair[1] })}`, { signal: stop }))
          : generationView(await get(`/generations/${encodeURIComponent(wanted)}`, { signal: stop }), data)
      )
      shown = key
    } catch (err) {
      if (stop.aborted) return
      fill(detail, empty(`Generation ${pair ? pair.join(' or ') : wanted} is not to be had`, err.message))
    }
  }

  const again = keepFresh(
    root,
    scope,
    (stop) => get('/generations', { signal: stop }),
    (data) => {
      const selected = pair ? null : Number(number ?? data.current)
      keyed(
        list,
        data.generations,
        (g) => g.number,
        item,
        (el, g) => mark(el, g, data, selected)
      )
      compare.set(data.generations)
      refill(
        tools,
        data.pinned === undefined || data.pinned === null
          ? null
          : [
              badge('warn', `Pinned to ${data.pinned}`),
              button('Unpin', () => change('/generations/unpin', 'the rules are no longer pinned', again), {
                class: 'button small'
              })
            ]
      )
      open(data, scope.signal)
    },
    { period: 5000 }
  )

  function generationView(g, data) {
    const before = data.generations.find((o) => o.number < g.number)
    return card(
      `Generation ${g.number}`,
      {
        actions: h(
          'div',
          { class: 'actions' },
          before &&
            link(to('timeline', [], { from: before.number, to: g.number }), `Compare with ${before.number}`),
          button('Pin…', () => pin(g, again), { class: 'button small', disabled: covers(g, data.pinned) })
        )
      },
      h(
        'p',
        { class: 'lead' },
        `Published ${clock(g.at)}, built in ${duration(g.took_seconds)}, ${plural(g.routes, 'route')}. ${g.summary}`
      ),
      h('h3', {}, 'Why'),
      causeList(g.causes, g.more_causes),
      h('h3', {}, 'What it changed'),
      changeList(g.changes ?? [], g.more_changes)
    )
  }
}

function item(g) {
  return h(
    'li',
    {},
    h(
      'a',
      { class: 'generation', href: to('timeline', [g.number]) },
      h('span', { class: 'generation-number' }),
      h(
        'span',
        { class: 'generation-text' },
        h('span', { class: 'generation-summary' }),
        h('span', { class: 'generation-cause' })
      ),
      h('span', { class: 'generation-marks' }),
      h('time', { datetime: g.at, title: exact(g.at) }, clock(g.at))
    )
  )
}

function mark(el, g, data, selected) {
  const a = el.firstElementChild
  setText(el.querySelector('.generation-number'), numberOf(g))
  setText(el.querySelector('.generation-summary'), g.summary || 'no change')
  setText(el.querySelector('.generation-cause'), (g.causes ?? []).map((c) => c.detail).join('; '))
  if (covers(g, selected)) a.setAttribute('aria-current', 'true')
  else a.removeAttribute('aria-current')
  refill(
    el.querySelector('.generation-marks'),
    covers(g, data.current) ? badge('ok', 'in use') : null,
    covers(g, data.pinned) ? badge('warn', 'pinned') : null
  )
}

async function change(path, done, again) {
  try {
    await post(path)
    say(done, 'ok')
  } catch (err) {
    say(err.message, 'bad')
  }
  again()
}

async function pin(g, again) {
  const sure = await confirmed(
    `Pin generation ${g.number}?`,
    'The rules of this generation are served until you unpin it, whatever registries and configuration say. Instances keep following the registry.',
    'Pin',
    'primary'
  )
  if (sure) await change(`/generations/${g.number}/pin`, `the rules are pinned to generation ${g.number}`, again)
}

// comparison lets two generations be chosen.
function comparison(pair) {
  const choose = (id, label) => [h('label', { for: id }, label), h('select', { id })]
  const [fromLabel, from] = choose('from', 'Compare')
  const [toLabel, until] = choose('to', 'with')
  const form = h(
    'form',
    { class: 'compare', 'aria-label': 'Compare two generations' },
    fromLabel,
    from,
    toLabel,
    until,
    h('button', { type: 'submit', class: 'button' }, 'Show the differences')
  )
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    location.hash = to('timeline', [], { from: from.value, to: until.value })
  })
  let had = ''
  return {
    root: form,
    set(list) {
      const numbers = list.map((g) => g.number)
      if (had === numbers.join()) return
      const keep = [from.value || pair?.[0] || numbers[1] || numbers[0], until.value || pair?.[1] || numbers[0]]
      had = numbers.join()
      ;[from, until].forEach((select, i) => {
        fill(
          select,
          list.map((g) => h('option', { value: g.number }, `${g.number} · ${clock(g.at)}`))
        )
        select.value = String(keep[i])
      })
    }
  }
}

function causeList(causes, more) {
  if (!causes?.length) return empty('No cause is known')
  return h(
    'ul',
    { class: 'causes' },
    causes.map((c) =>
      h(
        'li',
        {},
        h('time', { datetime: c.at, title: exact(c.at) }, clock(c.at)),
        badge('quiet', c.kind),
        h(
          'span',
          {},
          c.detail,
          c.service && h('span', { class: 'muted' }, ' · ', link(to('services', [c.service]), c.service))
        )
      )
    ),
    more ? h('li', {}, `and ${count(more)} more`) : null
  )
}

// changeList shows differences; the sign and the word say what the colour does.
function changeList(changes, more) {
  if (!changes.length) return empty('Nothing is different')
  return h(
    'ul',
    { class: 'changes' },
    changes.map((c) =>
      h(
        'li',
        { class: `change ${c.kind}` },
        h('span', { class: 'change-sign', 'aria-hidden': 'true' }, signs[c.kind] ?? '·'),
        h(
          'div',
          { class: 'change-text' },
          h(
            'div',
            {},
            badge(tones[c.kind] ?? 'quiet', `${c.kind} ${c.what}`),
            ' ',
            h('code', {}, c.name),
            c.owner && h('span', { class: 'muted' }, ` of ${c.owner}`)
          ),
          c.fields?.length
            ? h(
                'dl',
                { class: 'fields' },
                c.fields.map((f) =>
                  h(
                    'div',
                    {},
                    h('dt', {}, f.field),
                    h('dd', {}, h('del', {}, f.from || 'nothing'), ' → ', h('ins', {}, f.to || 'nothing'))
                  )
                )
              )
            : null
        )
      )
    ),
    more ? h('li', { class: 'change' }, h('span'), h('div', {}, `and ${count(more)} more`)) : null
  )
}

function diffView(d) {
  return card(
    `From ${d.from} to ${d.to}`,
    {},
    h('p', { class: 'lead' }, plural(d.changes?.length ?? 0, 'difference')),
    changeList(d.changes ?? [])
  )
}
