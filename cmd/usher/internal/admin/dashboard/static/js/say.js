import { h } from './dom.js'

const stay = 6000

// say tells of a change: on the screen for a while, and to a screen reader.
export function say(text, tone = 'info') {
  const box = document.getElementById('notes')
  const note = h('p', { class: `note ${tone}` }, text)
  box.append(note)
  while (box.childElementCount > 4) box.firstElementChild.remove()
  setTimeout(() => note.remove(), stay)
}

// announce tells a screen reader alone.
export function announce(text) {
  const live = document.getElementById('announcer')
  live.textContent = ''
  requestAnimationFrame(() => {
    live.textContent = text
  })
}
