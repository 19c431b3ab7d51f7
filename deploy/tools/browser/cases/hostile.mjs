// Names that would be scripts are shown as they are, on every page.
import { holds } from '../browser.mjs'
import { all } from './pages.mjs'

const evil = '<img src=x onerror="window.pwned=1">'

export async function play(session) {
  const page = await session.page()
  await page.goto(`${session.url}/`)
  const more = [
    ['service', `#/services/${encodeURIComponent(`${evil}@consul-dc1`)}`, '.page-services .table tbody tr'],
    ['compare', '#/timeline?from=1&to=3', '.change'],
    [
      'explained',
      `#/explain?url=${encodeURIComponent('http://x/')}&header=${encodeURIComponent(evil)}`,
      '.verdict'
    ],
    ['routes', `#/routes?q=${encodeURIComponent('onerror')}`, '.vt-row[data-index]'],
    ['services', `#/services?q=${encodeURIComponent('onerror')}`, '.vt-row[data-index]'],
    ['config', `#/config?q=${encodeURIComponent('onerror')}`, '.vt-row[data-index]'],
    ['nothing', `#/services/${encodeURIComponent(evil)}x`, '.empty.bad'],
    ['nothing', `#/timeline/${encodeURIComponent(evil)}`, '.empty'],
    ['nothing', `#/${evil}`, '.page-none']
  ]
  session.expected.push('404')
  for (const [name, hash, there] of [...all.filter(([, hash]) => hash), ...more]) {
    await page.goto(`${session.url}/${hash}`)
    await page.waitForSelector(there)
    const found = await page.evaluate(() => ({
      pwned: window.pwned,
      images: [...document.images].filter((i) => !i.src.endsWith('/favicon.svg')).length,
      handlers: document.querySelectorAll('[onerror], main script, main [style*="url"]').length
    }))
    holds(`${name} takes nothing for HTML`, !found.pwned && !found.images && !found.handlers)
    if (more.some(([n]) => n === name) && name !== 'nothing' && name !== 'compare') {
      holds(`${name} shows the name as it is`, (await page.locator('main').innerText()).includes('<img src=x'))
    }
  }
}
