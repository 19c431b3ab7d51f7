import { ApiError, forget, get } from './api.js'
import { restart } from './live.js'
import { poll } from './poll.js'
import { signal } from './signal.js'

const every = 2000

// overview is the last one that came; null: none has.
export const overview = signal(null)

// reach says whether usher answers: ok, or since when it does not and why; token says that
// it asks for one.
export const reach = signal({ ok: true, at: null, since: null, why: '', silent: false, token: false })

let running = null

// watchOverview asks for the overview every two seconds while somebody looks.
export function watchOverview() {
  running = poll(async (stop) => {
    try {
      took(await get('/overview', { signal: stop }))
    } catch (err) {
      if (stop.aborted) return
      failed(err)
    }
  }, every)
  return running
}

// look asks now.
export const look = () => running?.now()

function took(next) {
  const before = overview.get()
  if (before && before.started !== next.started) {
    forget()
    restart()
  }
  reach.set({ ok: true, at: Date.now(), since: null, why: '', silent: false, token: false })
  overview.set(next)
}

function failed(err) {
  const old = reach.get()
  const token = err instanceof ApiError && err.status === 401
  reach.set({
    ok: false,
    at: old.at,
    since: old.since ?? Date.now(),
    why: err.message,
    silent: err.status === 0,
    token
  })
}

// history holds the figures of the last minutes that the API has no history of, as differences
// of totals: a service's. Those of a service whose counters began anew are dropped.
export function history(length = 150) {
  const points = []
  let last = null
  return {
    points,
    add(totals, at) {
      const seconds = last ? (at - last.at) / 1000 : 0
      if (last && (totals.requests < last.totals.requests || seconds > 60)) last = null
      if (last && seconds > 0) points.push(difference(last.totals, totals, seconds, at))
      last = { totals, at }
      if (points.length > length) points.shift()
    }
  }
}

function difference(before, now, seconds, at) {
  const each = (name) =>
    Object.fromEntries(
      Object.entries(now[name] ?? {}).map(([k, n]) => [k, (n - (before[name]?.[k] ?? 0)) / seconds])
    )
  return {
    at,
    requests: (now.requests - before.requests) / seconds,
    codes: each('codes'),
    errors: each('errors'),
    before: before.durations,
    durations: now.durations
  }
}
