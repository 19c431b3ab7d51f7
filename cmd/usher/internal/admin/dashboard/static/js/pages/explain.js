import { get, query as search } from '../api.js'
import { fill, h } from '../dom.js'
import { remember } from '../router.js'
import { failure } from '../shell.js'
import { answer } from '../explained.js'

export const title = () => 'Explain'

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'CONNECT', 'TRACE']

export function show(root, { query, scope }) {
  const field = (id, label, input, note) =>
    h(
      'div',
      { class: `field field-${id}` },
      h('label', { for: id }, label),
      input,
      note && h('p', { class: 'field-note', id: `${id}-note` }, note)
    )
  const method = h(
    'select',
    { id: 'method' },
    methods.map((m) => h('option', {}, m))
  )
  method.value = methods.includes(query.get('method')) ? query.get('method') : 'GET'
  const url = h('input', {
    id: 'url',
    type: 'text',
    inputmode: 'url',
    required: true,
    spellcheck: 'false',
    autocomplete: 'off',
    placeholder: 'https://shop.example.com/orders/1',
    value: query.get('url') ?? '',
    data: { filter: '' }
  })
  const headers = h('textarea', {
    id: 'headers',
    rows: '2',
    spellcheck: 'false',
    placeholder: 'X-Beta: 1',
    'aria-describedby': 'headers-note'
  })
  headers.value = query.getAll('header').join('\n')
  const out = h('div', { class: 'explanation', 'aria-live': 'polite', 'aria-busy': 'false' })
  const form = h(
    'form',
    { class: 'card explain-form', 'aria-label': 'The request to explain' },
    field('method', 'Method', method),
    field('url', 'URL', url),
    field(
      'headers',
      'Headers',
      headers,
      'One a line, as Name: value. Nothing is sent: usher only says what it would do.'
    ),
    h('div', { class: 'field field-go' }, h('button', { type: 'submit', class: 'button primary' }, 'Explain'))
  )
  fill(root, form, out)

  async function ask() {
    const q = {
      url: url.value.trim(),
      method: method.value,
      header: headers.value
        .split('\n')
        .map((l) => l.trim())
        .filter(Boolean)
    }
    if (q.url && !q.url.includes('://')) q.url = `http://${q.url}`
    remember('explain', [], q)
    out.setAttribute('aria-busy', 'true')
    try {
      const e = await get(`/explain${search(q)}`, { signal: scope.signal })
      fill(out, answer(e))
    } catch (err) {
      if (!scope.signal.aborted) fill(out, failure(err))
    }
    out.setAttribute('aria-busy', 'false')
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault()
    ask()
  })
  if (url.value) ask()
}
