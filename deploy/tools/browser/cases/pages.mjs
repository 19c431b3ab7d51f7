// Each page in light and dark, and narrow: nothing serious for axe, a picture kept.
import { holds } from '../browser.mjs'

// what says that a page has what it is for.
export const all = [
  ['overview', '#/', '.registries li'],
  ['routes', '#/routes', '.vt-routes .vt-row[data-index]'],
  ['routes-refused', '#/routes?show=refused', '.card'],
  ['services', '#/services', '.vt-services .vt-row[data-index]'],
  ['service', null, '.page-services .table tbody tr'],
  ['timeline', '#/timeline', '.generation[aria-current]'],
  ['compare', null, '.change, .empty'],
  ['refused', '#/refused', '.card'],
  ['explain', '#/explain', '.explain-form'],
  ['explained', null, '.verdict'],
  ['certificates', '#/certificates', '.table tbody tr, .empty'],
  ['config', '#/config', '.vt-config .vt-row[data-index]'],
  ['events', '#/events', '.event'],
  ['nowhere', '#/nowhere', '.page-none']
]

export async function play(session) {
  for (const theme of ['light', 'dark']) {
    const page = await session.page({ theme })
    await page.goto(`${session.url}/`)
    await page.waitForSelector('.registries li')
    for (const [name, hash, there] of all) {
      await page.goto(`${session.url}/${hash ?? (await addressOf(session, page, name))}`)
      await page.waitForSelector(`${there}`)
      await page.waitForTimeout(300) // what is under way settles: for the picture alone
      await session.shot(page, `${name}-${theme}`)
      await session.usable(page, `${name} in ${theme}`)
    }
    await page.context().close()
  }
  await narrow(session)
}

// addressOf finds pages whose address depends on what there is.
async function addressOf(session, page, name) {
  if (name === 'service') {
    await page.goto(`${session.url}/#/services`)
    return page.locator('.vt-services a').first().getAttribute('href')
  }
  if (name === 'explained') {
    await page.goto(`${session.url}/#/routes`)
    return page.locator('.vt-routes .vt-row[data-index] a').first().getAttribute('href')
  }
  return page.evaluate(async () => {
    const { generations: g } = await (await fetch('/api/v1/generations')).json()
    return `#/timeline?from=${g.at(-1).number}&to=${g[0].number}`
  })
}

async function narrow(session) {
  const page = await session.page({ width: 390, height: 844, reduced: true })
  for (const [name, hash, there] of all) {
    if (!hash) continue
    await page.goto(`${session.url}/${hash}`)
    await page.waitForSelector(there)
    const wide = await page.evaluate(() => document.documentElement.scrollWidth)
    holds(`${name} fits a narrow screen (it is ${wide} wide)`, wide <= 390)
    await session.shot(page, `${name}-narrow`)
    await session.usable(page, `${name} narrow`)
  }
  await page.context().close()
}
