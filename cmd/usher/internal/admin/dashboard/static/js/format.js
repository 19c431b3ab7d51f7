// Figures as people read them.

const counts = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const dash = '–'

export const count = (n) => (n === null || n === undefined ? dash : counts.format(n))

// rate is a figure a second: three digits that matter.
export function rate(n) {
  if (n === null || n === undefined || !Number.isFinite(n)) return dash
  if (n === 0) return '0'
  if (n >= 10_000) return `${(n / 1000).toFixed(1)} k`
  if (n >= 100) return counts.format(n)
  return n >= 10 ? n.toFixed(1) : n.toFixed(2)
}

// duration is for times that requests take, in seconds.
export function duration(s) {
  if (s === null || s === undefined || !Number.isFinite(s) || s <= 0) return dash
  if (s < 0.001) return `${Math.round(s * 1e6)} µs`
  if (s < 0.01) return `${(s * 1e3).toFixed(2)} ms`
  if (s < 0.1) return `${(s * 1e3).toFixed(1)} ms`
  if (s < 1) return `${Math.round(s * 1e3)} ms`
  return s < 100 ? `${s.toFixed(2)} s` : span(s)
}

// tick and tickTime write what stands at an axis: no digit more than needed.
export const tick = (n) => (n >= 1000 ? `${n / 1000} k` : String(Number(n.toPrecision(4))))

export function tickTime(s) {
  if (s >= 1) return `${Number(s.toPrecision(3))} s`
  return s >= 0.001 ? `${Number((s * 1e3).toPrecision(3))} ms` : `${Number((s * 1e6).toPrecision(3))} µs`
}

// span is for what lasts: ages and times left, in seconds.
export function span(s) {
  if (!Number.isFinite(s)) return dash
  const n = Math.max(0, s)
  if (n < 1) return '0 s'
  if (n < 60) return `${Math.floor(n)} s`
  if (n < 3600) return `${Math.floor(n / 60)} min ${Math.floor(n % 60)} s`
  if (n < 86_400) return `${Math.floor(n / 3600)} h ${Math.floor((n % 3600) / 60)} min`
  return `${Math.floor(n / 86_400)} d ${Math.floor((n % 86_400) / 3600)} h`
}

export function bytes(n) {
  if (n === null || n === undefined) return dash
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let i = 0
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024
  return `${i === 0 ? n : n.toFixed(1)} ${units[i]}`
}

export const percent = (part) => {
  const p = part * 100
  return `${p > 0 && p < 10 ? p.toFixed(1) : Math.round(p)} %`
}

const two = (n) => String(n).padStart(2, '0')

// clock is a time of the day; the day is said where it is not today.
export function clock(at) {
  const d = new Date(at)
  if (Number.isNaN(d.getTime())) return dash
  const time = `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`
  return d.toDateString() === new Date().toDateString() ? time : `${day(d)} ${time}`
}

export function day(at) {
  const d = new Date(at)
  return Number.isNaN(d.getTime()) ? dash : `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`
}

// exact is a time with its zone, for titles.
export const exact = (at) => (at ? new Date(at).toISOString() : '')

// since is how many seconds there are from a time to now.
export const since = (at, now = Date.now()) => (new Date(now).getTime() - new Date(at).getTime()) / 1000

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`

// words makes a reason of the API readable: no_route is "no route".
export const words = (s) => String(s ?? '').replaceAll('_', ' ')

// quantile reads a quantile, in seconds, off the difference of two cumulative histograms;
// before may be undefined. Within a bucket it goes in a straight line, as Prometheus does.
export function quantile(q, now, before) {
  if (!now?.length) return 0
  const old = new Map((before ?? []).map((b) => [b.le, b.count]))
  const buckets = now.map((b) => ({ le: b.le, count: b.count - (old.get(b.le) ?? 0) }))
  const total = buckets.at(-1).count
  if (total <= 0) return 0
  const rank = q * total
  let low = 0
  let below = 0
  for (const b of buckets) {
    if (b.count >= rank) {
      if (b.le === 0) return low // beyond the last bound: all that is known is that
      const inside = b.count - below
      return inside > 0 ? low + (b.le - low) * ((rank - below) / inside) : b.le
    }
    low = b.le
    below = b.count
  }
  return low
}
