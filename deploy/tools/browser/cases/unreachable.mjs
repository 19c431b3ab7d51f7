// usher goes away and comes back: the dashboard says so, and keeps what it knew.
import { ask, holds } from '../browser.mjs'

export async function play(session) {
  session.expected.push('net::ERR', 'Failed to load resource')
  const page = await session.page()
  await page.goto(`${session.url}/`)
  await page.waitForSelector('.registries li')
  await ask('go')
  await page.locator('#unreachable').waitFor()
  await page.locator('#state').getByText('Unreachable').waitFor()
  holds(
    'it says since when',
    /What is shown is from \d\d:\d\d:\d\d/.test(await page.locator('#unreachable').innerText())
  )
  holds('what was known is there', (await page.locator('.registries li').count()) > 0)
  await session.usable(page, 'unreachable')
  await session.shot(page, 'unreachable')
  await page.evaluate(() => {
    location.hash = '#/certificates'
  })
  await page.getByText('This could not be read').waitFor()
  await page.getByRole('button', { name: 'Try again' }).click()
  await page.getByText('This could not be read').waitFor()
  await session.shot(page, 'unreachable-page')
  await ask('return')
  await page.locator('#unreachable').waitFor({ state: 'hidden' })
  await page.waitForSelector('.table tbody tr')
  await page.locator('#state').getByText('Ready').waitFor()
}
