// What the pages are built with. Text goes in as text nodes alone: nothing here, and
// nothing that uses it, lets HTML be read from data.

// h makes an element. attrs may have `on` (listeners by event), `data` (the dataset) and
// any attribute; null, undefined and false leave one out, true sets it empty.
export function h(tag, attrs, ...children) {
  const el = document.createElement(tag)
  for (const [name, value] of Object.entries(attrs ?? {})) setAttr(el, name, value)
  append(el, children)
  return el
}

function setAttr(el, name, value) {
  if (value === null || value === undefined || value === false) return
  if (name === 'on') {
    for (const [event, fn] of Object.entries(value)) el.addEventListener(event, fn)
  } else if (name === 'data') {
    Object.assign(el.dataset, value)
  } else {
    el.setAttribute(name, value === true ? '' : String(value))
  }
}

function append(el, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue
    el.append(child instanceof Node ? child : document.createTextNode(String(child)))
  }
}

// fill replaces what is in an element.
export function fill(el, ...children) {
  el.replaceChildren()
  append(el, children)
  return el
}

// refill is fill that changes only what is different: what is read, pressed or has the focus
// stays what it is.
export function refill(el, ...children) {
  patch(el, fill(el.cloneNode(false), children))
}

// patch makes an element like one that was made anew. A button is kept only if it is equal in
// all that is seen of it, its label included: what it does is bound to what it was made for.
export function patch(old, next) {
  if (old.isEqualNode(next)) return
  if (old.nodeName !== next.nodeName || old.nodeName === 'BUTTON') {
    const focused = old === document.activeElement
    old.replaceWith(next)
    if (focused) next.focus({ preventScroll: true })
    return
  }
  if (old.nodeType === Node.TEXT_NODE) {
    old.data = next.data
    return
  }
  for (const { name } of [...old.attributes]) if (!next.hasAttribute(name)) old.removeAttribute(name)
  for (const { name, value } of next.attributes) {
    // A style is written by scripts alone: as an attribute the policy would refuse it.
    if (name === 'style') Object.assign(old.style, { transform: next.style.transform })
    else if (old.getAttribute(name) !== value) old.setAttribute(name, value)
  }
  const before = [...old.childNodes]
  const after = [...next.childNodes]
  after.forEach((child, i) => (i < before.length ? patch(before[i], child) : old.append(child)))
  for (const child of before.slice(after.length)) child.remove()
}

// setText changes a text only when it is another, so that a screen reader hears nothing
// of one that stays.
export function setText(el, text) {
  const s = String(text ?? '')
  if (el.textContent !== s) el.textContent = s
}

// keyed keeps the children of an element in step with a list: one that stays keeps its
// element, and with it the focus. create makes an element, update brings it up to date.
export function keyed(parent, list, keyOf, create, update) {
  const old = new Map([...parent.children].map((el) => [el.dataset.key, el]))
  let at = parent.firstElementChild
  for (const item of list) {
    const key = String(keyOf(item))
    let el = old.get(key)
    old.delete(key)
    if (!el) {
      el = create(item)
      el.dataset.key = key
    }
    update?.(el, item)
    if (el === at) at = at.nextElementSibling
    else parent.insertBefore(el, at)
  }
  for (const el of old.values()) el.remove()
}

const drawn = 'http://www.w3.org/2000/svg'

// icon draws one of a few shapes; it says nothing, the text beside it does.
export function icon(name) {
  const svg = document.createElementNS(drawn, 'svg')
  svg.setAttribute('class', 'icon')
  svg.setAttribute('viewBox', '0 0 16 16')
  svg.setAttribute('aria-hidden', 'true')
  const path = document.createElementNS(drawn, 'path')
  path.setAttribute('d', shapes[name])
  svg.append(path)
  return svg
}

const shapes = {
  ok: 'M3.5 8.5l3 3 6-7',
  warn: 'M8 2.5l6 11H2zM8 7v3M8 11.8v.2',
  bad: 'M4 4l8 8M12 4l-8 8',
  info: 'M8 7v5M8 4.2v.2',
  wait: 'M8 4v4l2.5 2.5'
}

// badge is a word with a tone: ok, warn, bad, info or quiet. A shape tells the tones
// apart where colours do not.
export function badge(tone, text, title) {
  const shape = { ok: 'ok', warn: 'warn', bad: 'bad', info: 'info' }[tone]
  return h('span', { class: `badge ${tone}`, title }, shape && icon(shape), h('span', {}, text))
}

// link leads to a page.
export function link(href, ...children) {
  return h('a', { href }, ...children)
}

// button does something.
export function button(text, fn, attrs) {
  return h('button', { type: 'button', class: 'button', ...attrs, on: { click: fn } }, text)
}

// empty says that there is nothing, and what that means.
export function empty(title, more) {
  return h('div', { class: 'empty' }, h('p', { class: 'empty-title' }, title), more && h('p', {}, more))
}

// card is a titled part of a page.
export function card(title, attrs, ...children) {
  const id = `card-${title.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-')}`
  const { class: extra = '', actions, ...rest } = attrs ?? {}
  return h(
    'section',
    { class: `card ${extra}`, 'aria-labelledby': id, ...rest },
    h('header', { class: 'card-head' }, h('h2', { id }, title), actions),
    ...children
  )
}

// facts is a list of terms and what they are.
export function facts(pairs) {
  return h(
    'dl',
    { class: 'facts' },
    pairs.filter(Boolean).map(([term, ...what]) => h('div', {}, h('dt', {}, term), h('dd', {}, ...what)))
  )
}

// scroller holds what may be wider than the page; it can be reached and moved by keys.
export function scroller(label, ...children) {
  return h('div', { class: 'scroller', tabindex: '0', role: 'region', 'aria-label': label }, ...children)
}

// simpleTable is a table of few rows. A column is [title, class].
export function simpleTable(label, columns, rows) {
  return scroller(
    label,
    h(
      'table',
      { class: 'table' },
      h('caption', { class: 'sr' }, label),
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          columns.map(([title, cls]) => h('th', { scope: 'col', class: cls }, title))
        )
      ),
      h(
        'tbody',
        {},
        rows.map((cells) =>
          h(
            'tr',
            {},
            cells.map((cell, i) => h('td', { class: columns[i][1] }, cell))
          )
        )
      )
    )
  )
}
