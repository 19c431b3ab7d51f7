// The timeline of a real usher: what happened to shop-0 has a table and a cause; two tables
// are compared, one is pinned.
import { holds } from '../browser.mjs'

export async function play(session) {
  const page = await session.page()
  await timeline(page, session)
  await page.context().close()
}

async function timeline(page, session) {
  await page.goto(`${session.url}/#/timeline`)
  await page
    .locator('.generation-cause')
    .getByText(/shop-0/)
    .first()
    .waitFor()
  const numbers = await page.locator('.generation-number').allInnerTexts()
  holds('there are several generations', numbers.length >= 3)
  await page
    .locator('.generation', { has: page.getByText(/shop-0.*critical/) })
    .first()
    .click()
  await page
    .locator('.causes')
    .getByText(/shop-0.*critical/)
    .first()
    .waitFor()
  await page.locator('.change').first().waitFor()
  await session.shot(page, 'generation')
  await page.getByLabel('Compare', { exact: true }).selectOption({ index: numbers.length - 1 })
  await page.getByLabel('with', { exact: true }).selectOption({ index: 0 })
  await page.getByRole('button', { name: 'Show the differences' }).click()
  await page.getByRole('heading', { name: `From ${numbers.at(-1)} to ${numbers[0]}` }).waitFor()
  await page.locator('.change').first().waitFor()
  await session.shot(page, 'differences')

  await page
    .getByRole('link', { name: /Compare with|in use/ })
    .first()
    .click()
  await page.getByRole('button', { name: 'Pin…' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Pin', exact: true }).click()
  await page
    .locator('#state')
    .getByText(/Pinned to/)
    .waitFor()
  await page.getByRole('button', { name: 'Unpin' }).click()
  await page
    .locator('#state')
    .getByText(/Pinned to/)
    .waitFor({ state: 'detached' })
}
