import { fill, h, patch, setText } from './dom.js'

const rowHeight = 34
const more = 6 // rows drawn above and below those in sight

// virtualTable shows a long list: only the rows in sight exist, and what it tells of itself
// (aria-rowcount, aria-rowindex) is of all of them. A column is {key, title, class, sort,
// cell}: cell(item) returns what stands there, sort(item) what it is ordered by. search(item)
// is the text that the filter looks into, keyOf(item) tells the items apart. set(list) takes a list in, filter(text, keep)
// shows the items that have every word and that keep wants.
export function virtualTable(label, { name, columns, keyOf, search, onCount, order }) {
  const head = h('div', { role: 'row', class: 'vt-row vt-head', 'aria-rowindex': '1' })
  const space = h('div', { role: 'rowgroup', class: 'vt-space' })
  const box = h(
    'div',
    { class: 'vt-scroll', tabindex: '0', role: 'table', 'aria-label': label },
    h('div', { role: 'rowgroup', class: 'vt-top' }, head),
    space
  )
  const nothing = h('p', { class: 'vt-nothing', role: 'status' })
  const root = h('div', { class: `vt vt-${name}` }, box, nothing)
  let all = [] // [{item, text}] in the order of the sort
  let known = false // whether there was a list yet
  let shown = []
  let words = []
  let keep = null
  let sorted = order ?? { key: columns.find((c) => c.sort)?.key, down: false }
  const rows = new Map() // by index in shown
  let frame = 0
  let top = 0 // of what is in sight, and its height: reading them while drawing costs a layout
  let height = 600

  function header() {
    fill(
      head,
      columns.map((c) => {
        const is = sorted.key === c.key
        const aria = is ? (sorted.down ? 'descending' : 'ascending') : c.sort ? 'none' : null
        return h(
          'div',
          { role: 'columnheader', class: `vt-cell ${c.class ?? ''}`, 'aria-sort': aria },
          c.sort
            ? h(
                'button',
                { type: 'button', class: 'vt-sort', data: { column: c.key }, on: { click: () => sortBy(c.key) } },
                c.title,
                h('span', { class: 'vt-arrow', 'aria-hidden': 'true' }, is ? (sorted.down ? '↓' : '↑') : '')
              )
            : c.title
        )
      })
    )
  }

  function sortBy(key) {
    sorted = { key, down: sorted.key === key && !sorted.down }
    header()
    sort()
    apply()
    head.querySelector(`[data-column="${key}"]`)?.focus()
  }

  function sort() {
    const column = columns.find((c) => c.key === sorted.key)
    if (!column?.sort) return
    for (const entry of all) entry.by = column.sort(entry.item)
    const sign = sorted.down ? -1 : 1
    all.sort((a, b) => sign * compare(a.by, b.by))
  }

  function apply() {
    shown =
      words.length || keep
        ? all.filter((e) => (!keep || keep(e.item)) && words.every((w) => e.text.includes(w)))
        : all
    box.setAttribute('aria-rowcount', String(shown.length + 1))
    space.style.height = `${shown.length * rowHeight}px`
    const none = all.length ? 'Nothing fits the filter.' : 'There is none.'
    setText(nothing, shown.length || !known ? '' : none)
    if (known) onCount?.(shown.length, all.length)
    redraw()
  }

  // redraw brings the rows up to date; the focus stays at the item that has it.
  function redraw() {
    const focused = () => document.activeElement?.closest('.vt-row[data-index]')
    const key = space.contains(document.activeElement) ? focused()?.dataset.item : undefined
    for (const [i, el] of rows) {
      if (i < shown.length) {
        patch(el, rowOf(i))
      } else {
        el.remove()
        rows.delete(i)
      }
    }
    draw()
    if (key === undefined || focused()?.dataset.item === key) return
    const row = [...rows.values()].find((r) => r.dataset.item === key)
    ;(row?.querySelector('a, button') ?? box).focus({ preventScroll: true })
  }

  function draw() {
    frame = 0
    const first = Math.max(0, Math.min(Math.floor(top / rowHeight) - more, shown.length - 1))
    const last = Math.min(shown.length, Math.ceil((top + height) / rowHeight) + more)
    for (const [i, el] of rows) {
      if (i >= first && i < last) continue
      if (el.contains(document.activeElement)) box.focus({ preventScroll: true })
      el.remove()
      rows.delete(i)
    }
    const before = [...rows.keys()].sort((a, b) => a - b)
    let next = 0
    for (let i = first; i < last; i++) {
      if (rows.has(i)) {
        next++
        continue
      }
      const el = rowOf(i)
      space.insertBefore(el, rows.get(before[next]) ?? null)
      rows.set(i, el)
    }
  }

  function rowOf(i) {
    const { item } = shown[i]
    const row = h(
      'div',
      { role: 'row', class: 'vt-row', 'aria-rowindex': String(i + 2), data: { index: i, item: keyOf(item) } },
      columns.map((c) => h('div', { role: 'cell', class: `vt-cell ${c.class ?? ''}` }, c.cell(item)))
    )
    row.style.transform = `translateY(${i * rowHeight}px)`
    return row
  }

  // move leads from a link in one row to that in another, which is drawn if need be.
  function move(event) {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    const row = event.target.closest?.('.vt-row[data-index]')
    if (!by || !row) return
    const to = Number(row.dataset.index) + by
    if (to < 0 || to >= shown.length) return
    event.preventDefault()
    const above = to * rowHeight
    const below = above + 3 * rowHeight - box.clientHeight
    if (above < box.scrollTop) box.scrollTop = above
    if (below > box.scrollTop) box.scrollTop = below
    top = box.scrollTop
    draw()
    rows.get(to)?.querySelector('a, button')?.focus({ preventScroll: true })
  }

  box.addEventListener(
    'scroll',
    () => {
      top = box.scrollTop
      frame ||= requestAnimationFrame(draw)
    },
    { passive: true }
  )
  box.addEventListener('keydown', move)
  const resized = new ResizeObserver(() => {
    height = box.clientHeight
    frame ||= requestAnimationFrame(draw)
  })
  resized.observe(box)
  header()

  return {
    root,
    set(list) {
      known = true
      all = list.map((item) => ({ item, text: search(item).toLowerCase(), by: null }))
      sort()
      apply()
    },
    filter(text, which) {
      words = text.toLowerCase().split(/\s+/).filter(Boolean)
      keep = which ?? null
      if (top) box.scrollTop = 0
      top = 0
      apply()
    },
    destroy() {
      resized.disconnect()
      cancelAnimationFrame(frame)
    }
  }
}

function compare(a, b) {
  if (typeof a === 'number' && typeof b === 'number') return a - b
  return a < b ? -1 : a > b ? 1 : 0
}

// filterBox is the field above a table; "/" leads to it. changed is called with its text.
export function filterBox(label, text, changed) {
  const input = h('input', {
    type: 'search',
    class: 'filter',
    placeholder: label,
    'aria-label': label,
    value: text,
    autocomplete: 'off',
    spellcheck: 'false',
    data: { filter: '' },
    on: { input: () => changed(input.value) }
  })
  return h('div', { class: 'filter-box' }, input, h('kbd', { 'aria-hidden': 'true' }, '/'))
}

// choice is one of a few, as a row of buttons. options are [value, label].
export function choice(label, options, value, changed) {
  const buttons = options.map(([v, text]) =>
    h(
      'button',
      {
        type: 'button',
        class: 'choice',
        'aria-pressed': String(v === value),
        data: { value: v },
        on: {
          click() {
            for (const b of buttons) b.setAttribute('aria-pressed', String(b.dataset.value === v))
            changed(v)
          }
        }
      },
      text
    )
  )
  return h('div', { class: 'choices', role: 'group', 'aria-label': label }, buttons)
}
