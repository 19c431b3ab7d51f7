// Everything can be reached and done by keys, and the focus is always seen.
import { holds, same } from '../browser.mjs'

// focus is what has it: its text or label, and whether an outline shows it.
const focus = (page) =>
  page.evaluate(() => {
    const el = document.activeElement
    const style = getComputedStyle(el)
    return {
      id: el.id,
      tag: el.tagName,
      text: (el.getAttribute('aria-label') ?? el.textContent).trim(),
      column: el.dataset.column,
      row: el.closest('[data-index]')?.dataset.index,
      seen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0
    }
  })

// tab goes on to the next stop, which must be seen.
async function tab(page, times = 1) {
  let f
  for (let i = 0; i < times; i++) {
    await page.keyboard.press('Tab')
    f = await focus(page)
    holds(`the focus on ${f.tag} ${f.id} ${f.text.slice(0, 40)} is seen`, f.seen)
  }
  return f
}

// tabTo goes on until a stop is the one.
async function tabTo(page, what, is) {
  for (let i = 0; i < 60; i++) {
    const f = await tab(page)
    if (is(f)) return f
  }
  throw new Error(`60 times Tab do not lead to ${what}`)
}

export async function play(session) {
  const page = await session.page()
  await page.goto(`${session.url}/`)
  await page.waitForSelector('.registries li')
  same('the first stop', (await tab(page)).id, 'skip')
  await page.keyboard.press('Enter')
  same('where it leads', (await focus(page)).id, 'main')
  same('the page then', await page.locator('h1').innerText(), 'Overview')

  await page.reload()
  await page.waitForSelector('.registries li')
  await tabTo(page, 'the routes', (f) => f.tag === 'A' && f.text.startsWith('Routes'))
  await page.keyboard.press('Enter')
  await page.waitForSelector('.vt-row[data-index]')
  same('the focus on a new page', (await focus(page)).id, 'title')
  await table(page)
  await dialog(page, session)
  await page.context().close()
}

async function table(page) {
  await page.keyboard.press('/')
  same('where / leads', (await focus(page)).tag, 'INPUT')
  await page.keyboard.type('service-1')
  const count = page.locator('.count')
  await count.getByText('10 of 61 routes').waitFor()
  await page.waitForURL(/q=service-1/)
  const box = page.getByRole('table', { name: 'Routes' })
  same('rows, by what is told', await box.getAttribute('aria-rowcount'), '11')

  await tabTo(page, 'the head of a column', (f) => f.column === 'owner')
  await page.keyboard.press('Enter')
  const head = page.getByRole('columnheader', { name: 'Owner' })
  same('the order', await head.getAttribute('aria-sort'), 'ascending')
  await page.keyboard.press('Enter')
  same('the order', await head.getAttribute('aria-sort'), 'descending')
  same('where the focus stayed', (await focus(page)).column, 'owner')

  const first = await tabTo(page, 'a row', (f) => f.row !== undefined)
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('ArrowDown')
  same('two rows below', (await focus(page)).row, String(Number(first.row) + 2))
  await page.keyboard.press('ArrowUp')
  const link = await focus(page)
  same('one row up', link.row, String(Number(first.row) + 1))
  await page.keyboard.press('Enter')
  await page.waitForSelector('.verdict')
  same('what is explained', await page.locator('#url').inputValue(), `http://${link.text}`)
}

async function dialog(page, session) {
  await page.goto(`${session.url}/#/`)
  await page.getByRole('button', { name: 'Drain…' }).focus()
  await page.keyboard.press('Enter')
  await page.getByRole('dialog', { name: 'Drain this usher?' }).waitFor()
  await session.usable(page, 'a dialog')
  await tab(page)
  await page.keyboard.press('Escape')
  await page.getByRole('dialog').waitFor({ state: 'detached' })
  same('the focus after a dialog', (await focus(page)).text, 'Drain…')
}
