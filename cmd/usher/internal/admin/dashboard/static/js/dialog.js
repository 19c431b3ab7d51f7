import { h } from './dom.js'

// confirmed asks before something is done; it says what happens, the button names it.
export function confirmed(title, what, action, tone = 'primary') {
  return new Promise((done) => {
    const dialog = h(
      'dialog',
      { class: 'dialog', 'aria-labelledby': 'dialog-title' },
      h('h2', { id: 'dialog-title' }, title),
      h('p', {}, what),
      h(
        'div',
        { class: 'dialog-actions' },
        h('button', { type: 'button', class: 'button', on: { click: () => dialog.close('') } }, 'Cancel'),
        h('button', { type: 'button', class: `button ${tone}`, on: { click: () => dialog.close('yes') } }, action)
      )
    )
    dialog.addEventListener('close', () => {
      done(dialog.returnValue === 'yes')
      dialog.remove()
    })
    document.body.append(dialog)
    dialog.showModal()
  })
}

// askToken asks for the token of the admin API.
export function askToken(wrong) {
  return new Promise((done) => {
    const input = h('input', {
      id: 'token',
      type: 'password',
      autocomplete: 'off',
      spellcheck: 'false',
      'aria-describedby': 'token-why'
    })
    const form = h(
      'form',
      {},
      h('label', { for: 'token' }, 'Token'),
      input,
      h(
        'div',
        { class: 'dialog-actions' },
        h('button', { type: 'submit', class: 'button primary' }, 'Show the dashboard')
      )
    )
    const dialog = h(
      'dialog',
      { class: 'dialog', 'aria-labelledby': 'dialog-title' },
      h('h2', { id: 'dialog-title' }, 'This usher asks for a token'),
      h(
        'p',
        { id: 'token-why' },
        wrong ? 'It does not take the token that was given. ' : '',
        'It is the bearer token of the admin API; it is kept until this tab is closed.'
      ),
      form
    )
    form.addEventListener('submit', (event) => {
      event.preventDefault()
      if (input.value.trim()) dialog.close(input.value.trim())
    })
    dialog.addEventListener('cancel', (event) => event.preventDefault())
    dialog.addEventListener('close', () => {
      dialog.remove()
      done(dialog.returnValue)
    })
    document.body.append(dialog)
    dialog.showModal()
  })
}
