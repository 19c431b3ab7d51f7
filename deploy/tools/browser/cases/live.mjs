// A real usher under traffic: an instance dies and returns on the screen, a rule and a
// configuration are refused.
import { ask, holds, same } from '../browser.mjs'

export async function play(session) {
  const page = await session.page()
  await overview(page, session)
  await death(page, session)
  await picture(page, session)
  await rules(page, session)
  await page.context().close()
}

async function overview(page, session) {
  await page.goto(`${session.url}/`)
  await page.locator('#state').getByText('Ready').waitFor()
  const tile = (name) => page.locator(`[data-tile=${name}] .tile-value`)
  await page.waitForFunction(
    () => parseFloat(document.querySelector('[data-tile=requests] .tile-value').textContent) > 10
  )
  holds('the latency is one', /^[\d.]+ (µs|ms)$/.test(await tile('p50').innerText()))
  await page.locator('.registries').getByText('Fresh').waitFor()
  await page.locator('.legend').getByText('2xx').waitFor()
  await page.locator('.legend').getByText('no route').waitFor()
  same('canvases', await page.locator('.plot canvas').count(), 4)
}

// death watches the page of a service while one of its instances dies, in the registry's
// eyes, then in usher's own.
async function death(page, session) {
  await page.goto(`${session.url}/#/services`)
  await page.getByRole('link', { name: 'shop', exact: true }).click()
  const row = (id) =>
    page.locator('.table tbody tr', { has: page.locator('.id', { hasText: new RegExp(`(^|/)${id}$`) }) })
  const state = page.locator('.fact-row')
  await row('shop-0').getByText('healthy').waitFor()
  await state.getByText('Healthy').waitFor()

  await ask('critical', 'shop-0')
  await row('shop-0').getByText('critical', { exact: true }).first().waitFor()
  await state.getByText('Some out').waitFor()
  await row('shop-0')
    .locator('.cause')
    .getByText(/check .* is critical/)
    .first()
    .waitFor()
  await page.getByText('2 of 3').waitFor()
  await session.shot(page, 'service-critical')
  await ask('passing', 'shop-0')
  await row('shop-0').getByText('healthy').waitFor()
  await page.getByText('3 of 3').waitFor()

  await ask('kill', 'shop-1')
  await row('shop-1').getByText('ejected').first().waitFor()
  await session.shot(page, 'service-ejected')
  await ask('revive', 'shop-1')
  await row('shop-1').getByText('healthy').waitFor({ timeout: 90_000 })
  await state.getByText('Healthy').waitFor()
  await page.locator('.plot canvas').first().waitFor()
}

// picture keeps that of the README, docs/images/dashboard.png.
async function picture(page, session) {
  await page.setViewportSize({ width: 1280, height: 860 })
  await page.goto(`${session.url}/#/`)
  await page.locator('.legend').getByText('no route').waitFor()
  await page.locator('.plot canvas').nth(3).waitFor()
  await session.shot(page, 'dashboard')
  await page.setViewportSize({ width: 1440, height: 900 })
}

// rules sees a rule refused, and the events of all that.
async function rules(page, session) {
  await page.goto(`${session.url}/#/refused`)
  await ask('announce', 'urlprefix-shop.test/x weight=much')
  await page.getByText('urlprefix-shop.test/x weight=much').first().waitFor()
  await page.goto(`${session.url}/#/events`)
  await page.waitForSelector('#live.on')
  await page
    .locator('.event')
    .getByText(/shop-0|shop-1/)
    .first()
    .waitFor()
  await page.getByRole('link', { name: 'Configuration' }).click()
  await page.locator('.vt-config').getByText('usher.yaml').first().waitFor()
  await ask('break')
  await page.goto(`${session.url}/#/`)
  await page.getByText(/A configuration was refused/).waitFor()
  await page.locator('.problems').getByText('adress').waitFor()
  await session.shot(page, 'refused-configuration')
}
