import { words } from './format.js'

const codes = [
  ['2xx', 'line-2'],
  ['3xx', 'line-3'],
  ['4xx', 'line-4'],
  ['5xx', 'line-5'],
  ['1xx', 'line-6']
]

// codeLines are the lines of the answers by class; those that never came are left out.
export function codeLines(points, of) {
  const there = (name) => points.some((p) => (of(p)?.[name] ?? 0) > 0)
  return codes
    .filter(([name]) => there(name))
    .map(([name, colour]) => ({ name, label: name, colour, values: points.map((p) => of(p)?.[name] ?? 0) }))
}

const colours = ['line-5', 'line-4', 'line-1', 'line-6', 'line-3', 'line-2']

// errorLines are the lines of usher's own answers, by reason, the most frequent first; from
// the sixth on they are one.
export function errorLines(points, of) {
  const sums = new Map()
  for (const p of points) {
    for (const [reason, n] of Object.entries(of(p) ?? {})) if (n > 0) sums.set(reason, (sums.get(reason) ?? 0) + n)
  }
  const names = [...sums.keys()].sort((a, b) => sums.get(b) - sums.get(a))
  const lines = names.slice(0, 5).map((name, i) => ({
    name,
    label: words(name),
    colour: colours[i],
    values: points.map((p) => of(p)?.[name] ?? 0)
  }))
  const rest = names.slice(5)
  if (rest.length) {
    const sum = (p) => rest.reduce((n, name) => n + (of(p)?.[name] ?? 0), 0)
    lines.push({ name: 'others', label: `${rest.length} others`, colour: colours[5], values: points.map(sum) })
  }
  return lines
}

// latencyLines are the median and the 99th percentile; a step without a request is a gap.
export function latencyLines(points, of) {
  const gap = (v) => (v > 0 ? v : null)
  return [
    { name: 'p50', label: 'median', colour: 'line-2', values: points.map((p) => gap(of(p)[0])) },
    { name: 'p99', label: 'p99', colour: 'line-4', values: points.map((p) => gap(of(p)[1])) }
  ]
}
