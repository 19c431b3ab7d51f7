import { get } from '../api.js'
import { badge, empty, refill, h, simpleTable } from '../dom.js'
import { day, exact, span } from '../format.js'
import { keepFresh } from '../fresh.js'

export const title = () => 'Certificates'

const dayOf = 86_400
const soonDays = 14
const lateDays = 3

// left says how long a certificate is good for, in words and a tone.
function left(c, now) {
  const seconds = (new Date(c.not_after) - now) / 1000
  if (seconds <= 0) return badge('bad', `expired ${span(-seconds)} ago`)
  if (new Date(c.not_before) > now) return badge('warn', `good from ${day(c.not_before)}`)
  const tone = seconds < lateDays * dayOf ? 'bad' : seconds < soonDays * dayOf ? 'warn' : 'ok'
  return badge(tone, span(seconds))
}

export function show(root, { scope }) {
  const body = h('div', { class: 'card flush' })
  root.append(body)
  keepFresh(
    root,
    scope,
    (stop) => get('/certificates', { signal: stop }),
    (list) => {
      if (!list.length) {
        refill(body, empty('No certificate', 'No listener speaks TLS.'))
        return
      }
      const now = Date.now()
      const soonest = list.toSorted((a, b) => new Date(a.not_after) - new Date(b.not_after))
      refill(
        body,
        simpleTable(
          'Certificates, the next to expire first',
          [
            ['Names', 'wide'],
            ['Good for'],
            ['Until', 'day'],
            ['Issuer', 'wide'],
            ['Listeners'],
            ['Origin', 'wide']
          ],
          soonest.map((c) => [
            [h('strong', {}, c.names.join(', ') || c.subject), h('div', { class: 'muted' }, `serial ${c.serial}`)],
            [left(c, now), c.problem && h('div', { class: 'cause' }, c.problem)],
            h('span', { title: exact(c.not_after) }, day(c.not_after)),
            c.issuer,
            (c.listeners ?? []).join(', '),
            h('code', {}, c.origin)
          ])
        )
      )
    }
  )
}
