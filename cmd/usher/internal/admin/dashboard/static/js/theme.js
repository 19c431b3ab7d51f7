// The theme: the system's, light or dark. This runs before the first paint.
const key = 'usher-theme'
const order = ['auto', 'light', 'dark']
const names = { auto: 'as the system', light: 'light', dark: 'dark' }

const chosen = () => (order.includes(localStorage.getItem(key)) ? localStorage.getItem(key) : 'auto')

function show(theme) {
  document.documentElement.dataset.theme = theme
  const button = document.getElementById('theme')
  if (button) {
    button.dataset.theme = theme
    button.setAttribute('aria-label', `Theme: ${names[theme]}. Change it`)
    button.title = `Theme: ${names[theme]}`
  }
  document.dispatchEvent(new CustomEvent('theme'))
}

show(chosen())

document.addEventListener('DOMContentLoaded', () => {
  show(chosen())
  document.getElementById('theme').addEventListener('click', () => {
    const next = order[(order.indexOf(chosen()) + 1) % order.length]
    localStorage.setItem(key, next)
    show(next)
  })
})

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => show(chosen()))
