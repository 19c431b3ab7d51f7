// Where usher asks for a token, the dashboard asks for it, and keeps it for the tab alone.
import { ask, holds, same } from '../browser.mjs'

export async function play(session) {
  session.expected.push('401')
  const page = await session.page()
  await page.goto(`${session.url}/#/services`)
  const box = page.getByLabel('Token', { exact: true })
  await box.fill('wrong')
  await box.press('Enter')
  await page.getByText('It does not take the token that was given').waitFor()
  await session.usable(page, 'the token box')
  await session.shot(page, 'token')
  await page.getByLabel('Token', { exact: true }).fill('open sesame')
  await page.getByRole('button', { name: 'Show the dashboard' }).click()
  await page.waitForSelector('.vt-services .vt-row[data-index]')
  await page.waitForSelector('#live.on')
  same('dialogs left', await page.locator('dialog').count(), 0)
  await ask('event', 'after the token')
  await page.goto(`${session.url}/#/events`)
  await page.getByText('after the token').first().waitFor()
  const kept = await page.evaluate(() => [JSON.stringify({ ...localStorage }), document.cookie].join())
  holds('the token is in no lasting store', !kept.includes('sesame'))
  await page.reload()
  await page.waitForSelector('.event')
  same('dialogs after a reload', await page.locator('dialog').count(), 0)
}
