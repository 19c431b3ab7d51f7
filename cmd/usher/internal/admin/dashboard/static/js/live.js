import { get, send } from './api.js'
import { signal } from './signal.js'

const keep = 500
const retryAfter = 2000

// The last events, the newest first, and the hands they are passed to as they come.
export const events = signal([])
export const streaming = signal(false)
const listeners = new Set()

// onEvent calls fn with each new event; what it returns ends that.
export function onEvent(fn) {
  listeners.add(fn)
  return () => listeners.delete(fn)
}

function take(list, fresh) {
  const known = events.get()[0]?.id ?? 0
  const news = list.filter((e) => e.id > known)
  if (!news.length) return
  events.set([...news.toReversed(), ...events.get()].slice(0, keep))
  if (fresh) for (const e of news) for (const fn of [...listeners]) fn(e)
}

// restart forgets the events of a process that is no more: the next counts from one.
export function restart() {
  events.set([])
  cut?.abort()
}

let cut = null

// follow listens for events until the page is left. It reads the stream by fetch: an
// EventSource cannot show a token.
export async function follow() {
  let first = true
  for (;;) {
    await seen()
    try {
      await listen(first)
      first = false
    } catch {
      // the overview's poll says whether usher is there
    }
    streaming.set(false)
    await new Promise((done) => setTimeout(done, retryAfter))
  }
}

// seen waits until somebody looks.
function seen() {
  return new Promise((done) => {
    const look = () => {
      if (document.hidden) return
      document.removeEventListener('visibilitychange', look)
      done()
    }
    document.addEventListener('visibilitychange', look)
    look()
  })
}

async function listen(first) {
  cut = new AbortController()
  const stop = cut
  const hide = () => document.hidden && stop.abort()
  document.addEventListener('visibilitychange', hide)
  try {
    if (first || !events.get().length) take(await get('/events', { signal: stop.signal }), !first)
    const last = events.get()[0]?.id ?? 0
    const response = await send('/events', {
      endless: true,
      signal: stop.signal,
      headers: { Accept: 'text/event-stream', 'Last-Event-ID': String(last) }
    })
    streaming.set(true)
    await read(response.body, (e) => take([e], true))
  } finally {
    document.removeEventListener('visibilitychange', hide)
  }
}

// read takes a stream of server-sent events apart: of each the lines of data are JSON.
export async function read(body, each) {
  const text = body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const { value, done } = await text.read()
    if (done) return
    const parts = (rest + value).replaceAll('\r\n', '\n').split('\n\n')
    rest = parts.pop()
    for (const part of parts) {
      const data = part
        .split('\n')
        .filter((l) => l.startsWith('data:'))
        .map((l) => l.slice(5))
        .join('\n')
      if (data.trim()) each(JSON.parse(data))
    }
  }
}
