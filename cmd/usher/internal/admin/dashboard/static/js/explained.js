import { badge, card, facts, h, link, simpleTable } from './dom.js'
import { count, percent, plural, words } from './format.js'
import { to } from './router.js'
import { toneOfState } from './tones.js'

// answer shows an explanation: the outcome in a sentence, then why, step by step.
export function answer(e) {
  return h('div', { class: 'stack' }, outcome(e), tried(e), arms(e), forwarded(e), rules(e))
}

function outcome(e) {
  const [tone, sentence] = said(e)
  return h(
    'section',
    { class: `card verdict ${tone}`, 'aria-label': 'Outcome' },
    h('p', { class: 'verdict-line' }, badge(tone, words(e.outcome)), h('span', {}, sentence)),
    facts([
      ['Asked', h('code', {}, `${e.question.method} ${e.question.url}`)],
      ['Listener', h('strong', {}, e.listener || 'none'), e.listener_why && ` – ${e.listener_why}`],
      e.generation ? ['Generation', link(to('timeline', [e.generation]), count(e.generation))] : null,
      e.route ? ['Rule', h('code', {}, e.route.id), ` of ${e.route.owner}`] : null,
      e.reason ? ['Reason', h('code', {}, e.reason)] : null
    ])
  )
}

// said is the outcome as a sentence.
function said(e) {
  const arm = e.arms?.find((a) => a.drawn)
  const chosen = arm?.endpoints?.[arm.chosen]
  if (e.outcome === 'forwarded') {
    const where = arm ? (arm.services ?? []).join(', ') || arm.cluster : e.route?.services?.join(', ')
    return chosen
      ? ['ok', `It would go to ${where}, to ${chosen.id} at ${chosen.address}.`]
      : ['ok', `It would go to ${where}.`]
  }
  const status = e.status ? ` with ${e.status}` : ''
  if (e.outcome === 'answered')
    return ['info', `A rule answers it${status}${e.route ? `: ${e.route.action}` : ''}.`]
  return ['bad', `usher would refuse it${status}${e.reason ? `: ${words(e.reason)}` : ''}.`]
}

function tried(e) {
  if (!e.tried?.length) return null
  return card(
    'Rules that were tried',
    { class: 'flush' },
    simpleTable(
      'Rules that were tried, in order',
      [['#', 'num'], ['Verdict'], ['Pattern', 'wide'], ['Why', 'wide'], ['Owner', 'wide']],
      e.tried.map((t, i) => [
        count(i + 1),
        t.verdict === 'won' ? badge('ok', 'won') : badge('quiet', t.verdict),
        [h('code', {}, `${t.host || '*'}${t.path}`), h('div', { class: 'muted' }, t.path_type)],
        t.why,
        [t.owner, h('div', { class: 'muted' }, t.route)]
      ])
    )
  )
}

function arms(e) {
  return (e.arms ?? []).map((a, i) =>
    card(
      e.arms.length > 1 ? `Part ${i + 1} of the split` : 'Where it goes',
      { class: 'flush' },
      h(
        'div',
        { class: 'pad' },
        h(
          'p',
          {},
          a.drawn ? badge('ok', 'drawn for this request') : badge('quiet', 'not drawn'),
          e.arms.length > 1 && ` weight ${a.weight}. `,
          ' Balanced by ',
          h('strong', {}, words(a.balance)),
          a.balance_why && `: ${a.balance_why}`
        ),
        a.panic && h('p', {}, badge('warn', 'too few are healthy: all are tried'))
      ),
      simpleTable(
        `Endpoints of ${a.cluster}`,
        [
          ['Endpoint', 'wide'],
          ['Stands'],
          ['Why', 'wide'],
          ['Share', 'num'],
          ['Tier', 'num'],
          ['In flight', 'num'],
          ['Picked']
        ],
        (a.endpoints ?? []).map((p, n) => [
          [
            h('strong', { class: 'id' }, p.id),
            h('div', {}, h('code', {}, p.address), ' ', link(to('services', [p.service]), p.service))
          ],
          [
            badge(toneOfState(p.health?.state ?? p.status), words(p.health?.state ?? p.status)),
            p.held && badge('warn', 'held')
          ],
          p.health?.cause || p.cause || (p.usable ? '' : 'not usable'),
          percent(p.share ?? 0),
          count(p.tier),
          count(p.in_flight),
          a.drawn && n === a.chosen ? badge('ok', 'chosen') : p.usable ? '' : badge('quiet', 'left out')
        ])
      )
    )
  )
}

function forwarded(e) {
  const f = e.forwarded
  if (!f) return null
  const lines = Object.entries(f.headers ?? {}).flatMap(([name, values]) => values.map((v) => `${name}: ${v}`))
  return card(
    'What the endpoint is asked',
    {},
    h(
      'pre',
      { class: 'wire', tabindex: '0', 'aria-label': 'The request as it is forwarded' },
      [`${f.method} ${f.target} ${f.protocol}`, `Host: ${f.host}`, ...lines].join('\n')
    ),
    h('p', { class: 'muted' }, `at ${f.endpoint}`)
  )
}

function rules(e) {
  if (!e.filters?.length && !e.policy?.length) return null
  return card(
    'Filters, timeouts, retries and limits',
    {},
    e.filters?.length
      ? [
          h('h3', {}, plural(e.filters.length, 'filter')),
          h(
            'ol',
            { class: 'filters' },
            e.filters.map((f) => h('li', {}, f))
          )
        ]
      : null,
    e.policy?.length
      ? simpleTable(
          'What applies',
          [['Setting', 'wide'], ['Value'], ['Origin', 'wide']],
          e.policy.map((s) => [
            h('code', {}, s.path),
            String(typeof s.value === 'object' ? JSON.stringify(s.value) : s.value),
            s.origin
          ])
        )
      : null
  )
}
