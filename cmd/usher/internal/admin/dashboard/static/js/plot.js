import uPlot from '../vendor/uplot/uPlot.esm.js'
import { fill, h, setText } from './dom.js'
import { clock, tick as plain } from './format.js'

const height = 170

// colour resolves one of the style sheet's for a canvas.
function colour(name) {
  const probe = h('span', { class: 'probe' })
  probe.style.color = `var(--${name})`
  document.body.append(probe)
  const value = getComputedStyle(probe).color
  probe.remove()
  return value
}

// axisTime writes the hours and minutes below the plot.
function axisTime(_, splits) {
  return splits.map((s) => {
    const d = new Date(s * 1000)
    const two = (n) => String(n).padStart(2, '0')
    const minutes = `${two(d.getHours())}:${two(d.getMinutes())}`
    return d.getSeconds() ? `${minutes}:${two(d.getSeconds())}` : minutes
  })
}

// plot draws lines over time in a figure, whose caption has the figures in words: those of
// now, or those under the pointer. format writes a value, tick one at the axis. set() is given the times (in
// seconds) and the lines: [{name, label, colour, values}], in an order that stays.
export function plot(title, { format, tick = plain, note = '' }) {
  const legend = h('ul', { class: 'legend' })
  const when = h('span', { class: 'plot-when' })
  const place = h('div', { class: 'plot-area', role: 'img', 'aria-label': title })
  const nothing = h('p', { class: 'plot-nothing', hidden: true }, 'Nothing yet')
  const figure = h(
    'figure',
    { class: 'plot' },
    h(
      'figcaption',
      {},
      h('span', { class: 'plot-title' }, title),
      note && h('span', { class: 'plot-note' }, note),
      when
    ),
    place,
    nothing,
    legend
  )
  let chart = null
  let lines = []
  let times = []
  let names = ''

  function options() {
    const grid = { stroke: colour('grid'), width: 1 }
    const axis = { stroke: colour('muted'), grid, ticks: { show: false }, font: '11px system-ui, sans-serif' }
    return {
      width: Math.max(120, place.clientWidth),
      height,
      legend: { show: false },
      pxAlign: 0,
      padding: [6, 16, 0, 0],
      cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
      scales: { x: { time: true }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.12 : 1] } },
      axes: [
        { ...axis, values: axisTime, space: 80, size: 26 },
        { ...axis, values: (_, splits) => splits.map((v) => (v === 0 ? '0' : tick(v))), size: 52, space: 34 }
      ],
      series: [
        {},
        ...lines.map((l) => ({
          label: l.label,
          stroke: colour(l.colour),
          width: 1.75,
          points: { show: false },
          fill: lines.length === 1 ? colour(`${l.colour}-soft`) : undefined,
          spanGaps: false
        }))
      ],
      hooks: { setCursor: [(u) => showLegend(u.cursor.idx)] }
    }
  }

  function rebuild() {
    chart?.destroy()
    chart = null
    if (!lines.length || !times.length || !place.clientWidth) return
    chart = new uPlot(options(), [times, ...lines.map((l) => l.values)], place)
  }

  function showLegend(index) {
    const i = index ?? times.length - 1
    setText(when, index === null || index === undefined ? '' : clock(times[i] * 1000))
    ;[...legend.children].forEach((el, n) =>
      setText(el.querySelector('.legend-value'), format(lines[n]?.values[i]))
    )
  }

  function buildLegend() {
    fill(
      legend,
      lines.map((l) =>
        h(
          'li',
          {},
          h('span', { class: `swatch swatch-${l.colour}` }),
          h('span', {}, l.label),
          h('span', { class: 'legend-value' })
        )
      )
    )
  }

  function set(at, next) {
    times = at
    lines = next
    nothing.hidden = lines.length > 0 && times.length > 0
    place.hidden = !nothing.hidden
    const now = next.map((l) => l.name).join()
    if (now !== names || !chart) {
      names = now
      buildLegend()
      rebuild()
    } else {
      chart.setData([times, ...lines.map((l) => l.values)])
    }
    showLegend(chart?.cursor.idx)
  }

  const resized = new ResizeObserver(() => {
    if (chart) chart.setSize({ width: Math.max(120, place.clientWidth), height })
    else rebuild()
  })
  resized.observe(figure)
  document.addEventListener('theme', rebuild)
  return {
    figure,
    set,
    destroy() {
      resized.disconnect()
      document.removeEventListener('theme', rebuild)
      chart?.destroy()
    }
  }
}
