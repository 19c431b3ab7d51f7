import { get } from './api.js'
import { fill, h } from './dom.js'
import { onEvent } from './live.js'
import { poll, throttled } from './poll.js'
import { failure } from './shell.js'
import { overview, reach } from './state.js'

const every = 15_000
const soon = 1000

// keepFresh reads for a page: at once, when the table is another or something happened, and
// every few seconds besides. A first failure is shown in its place; a later one leaves what
// is there, the banner tells. Returned is what reads at once.
export function keepFresh(root, scope, read, show, { period = every } = {}) {
  const problem = h('div', {})
  root.prepend(problem)
  let has = false
  const reading = poll(async (stop) => {
    try {
      const data = await read(stop)
      if (stop.aborted) return
      fill(problem)
      has = true
      show(data)
    } catch (err) {
      if (stop.aborted) return
      if (err.status === undefined) throw err
      if (err.status !== 401 && (!has || err.status === 404))
        fill(
          problem,
          failure(err, () => reading.now())
        )
    }
  }, period)
  scope.add(() => reading.stop())
  const again = throttled(() => reading.now(), soon)
  scope.add(() => again.cancel())
  let reached = true
  scope.add(
    reach.subscribe((r) => {
      if (r.ok && !reached && problem.hasChildNodes()) again() // it answers again
      reached = r.ok
    })
  )
  let generation = overview.get()?.generation
  scope.add(
    overview.subscribe((o) => {
      if (!o || o.generation === generation) return
      if (generation !== undefined) again()
      generation = o.generation
    })
  )
  scope.add(onEvent((e) => e.kind !== 'certificate' && again()))
  return reading.now
}

// cachedRoutes are the routes, read again when the table is another, or after a while: there
// may be many, and who shows a few of them asks often. The answer is for whoever asks next as
// well, so that no page's end breaks it off.
let cached = null

export function cachedRoutes() {
  const generation = overview.get()?.generation
  if (cached && cached.generation === generation && performance.now() - cached.at < every) return cached.answer
  const answer = get('/routes')
  cached = { generation, at: performance.now(), answer }
  answer.catch(() => {
    cached = null
  })
  return answer
}
