// What the pages do: pin, release, compare, the theme, and rest while nobody looks.
import { ask, holds, same } from '../browser.mjs'

export async function play(session) {
  const page = await session.page()
  await page.goto(`${session.url}/#/timeline/3`)
  await timeline(page)
  await release(page, session)
  await theme(page)
  await events(page, session)
  await leave(page, session)
  await rest(page)
  await again(page, session)
  await page.context().close()
}

async function timeline(page) {
  await page.getByRole('heading', { name: 'Generation 3' }).waitFor()
  await page.getByRole('button', { name: 'Pin…' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Pin', exact: true }).click()
  await page.locator('#state').getByText('Pinned to 3').waitFor()
  await page.locator('.generation[aria-current]').getByText('pinned').waitFor()
  await page.getByRole('button', { name: 'Unpin' }).click()
  await page.locator('#state').getByText('Pinned to 3').waitFor({ state: 'detached' })
  await page.getByLabel('Compare', { exact: true }).selectOption('2')
  await page.getByLabel('with', { exact: true }).selectOption('6')
  await page.getByRole('button', { name: 'Show the differences' }).click()
  await page.getByRole('heading', { name: 'From 2 to 6' }).waitFor()
  await page.getByText('added route').waitFor()
}

async function release(page, session) {
  await page.goto(`${session.url}/#/refused`)
  await page.getByRole('button', { name: /^Release the held/ }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Release' }).click()
  await page.getByText('Nothing is held').waitFor()
}

async function theme(page) {
  const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor)
  const light = await ground()
  await page.getByRole('button', { name: /^Theme/ }).click()
  same('light as the system', await ground(), light)
  await page.getByRole('button', { name: /^Theme: light/ }).click()
  holds('dark is another colour', (await ground()) !== light)
  await page.reload()
  holds('it is remembered', (await ground()) !== light)
}

async function events(page, session) {
  await page.goto(`${session.url}/#/events`)
  await page.waitForSelector('#live.on')
  await ask('event', 'something new')
  await page.locator('.event').first().getByText('something new').waitFor()
  await page.locator('.note').getByText('something new').waitFor()
}

// leave follows a link at the moment that a filter is to come into the address: the link wins.
async function leave(page, session) {
  await page.goto(`${session.url}/#/services`)
  await page.waitForSelector('.vt-row[data-index]')
  await page.evaluate(() => {
    const input = document.querySelector('[data-filter]')
    input.value = 'service-01'
    input.dispatchEvent(new Event('input', { bubbles: true }))
    for (const end = performance.now() + 400; performance.now() < end;); // the timer is due
    location.hash = '#/events'
  })
  await page.getByRole('heading', { name: 'Events', level: 1 }).waitFor()
}

// rest checks that nothing is asked while the page is hidden, and that it goes on then.
async function rest(page) {
  const hide = (hidden) =>
    page.evaluate((is) => {
      Object.defineProperty(document, 'hidden', { configurable: true, get: () => is })
      document.dispatchEvent(new Event('visibilitychange'))
    }, hidden)
  await hide(true)
  await page.waitForSelector('#live:not(.on)', { state: 'attached' })
  let asked = 0
  page.on('request', () => {
    asked++
  })
  await page.waitForTimeout(5000) // two and a half turns
  same('requests while hidden', asked, 0)
  await hide(false)
  await page.waitForSelector('#live.on')
  holds('it asks again', asked > 0)
}

// again checks that a new process, whose events count from one, is noticed.
async function again(page, session) {
  session.expected.push('net::ERR') // the stream breaks off
  await ask('restart')
  await page.locator('.event').getByText('something new').waitFor({ state: 'detached' })
  await page.waitForSelector('#live.on')
  await ask('event', 'after the restart')
  await page.locator('.event').getByText('after the restart').first().waitFor()
  holds('it is the one event', (await page.locator('.event').count()) === 1)
  same('the address', page.url().replace(/\?.*/, ''), `${session.url}/#/events`)
}
