// A real usher explains requests.
import { holds } from '../browser.mjs'

export async function play(session) {
  const page = await session.page()
  await explain(page, session)
  await page.context().close()
}

async function explain(page, session) {
  await page.goto(`${session.url}/#/explain`)
  await page.getByLabel('URL').fill('http://shop.test/basket?x=1')
  await page.getByLabel('Headers').fill('X-Beta: 1')
  await page.getByRole('button', { name: 'Explain', exact: true }).click()
  await page
    .locator('.verdict')
    .getByText(/It would go to shop/)
    .waitFor()
  holds('the instances are told', (await page.locator('main').innerText()).includes('shop-2'))
  await session.shot(page, 'explained-live')
  await page.getByLabel('URL').fill('nowhere.test/')
  await page.getByLabel('URL').press('Enter')
  await page
    .locator('.verdict')
    .getByText(/refuse it with 404: no route/)
    .waitFor()
}
