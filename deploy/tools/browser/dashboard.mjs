// The browser tests of the dashboard:
//
//   node dashboard.mjs URL CASE PICTURES
//
// plays a case of cases/ against the dashboard at URL in the Chromium that $CHROMIUM names.
// It exits 1 when something is wrong, which it writes to stderr.
import { open } from './browser.mjs'

const [url, name, pictures] = process.argv.slice(2)

try {
  const { play } = await import(`./cases/${name}.mjs`)
  const session = await open(url, pictures)
  try {
    await play(session)
  } catch (err) {
    session.wrong.push(err.stack)
    for (const context of session.browser.contexts()) {
      for (const [i, page] of context.pages().entries()) {
        await session.shot(page, `failed-${name}-${i}`).catch(() => {})
        console.log(
          await page
            .locator('main')
            .innerText({ timeout: 1000 })
            .catch(() => 'no page')
        )
      }
    }
  }
  await session.close()
} catch (err) {
  console.error(err.message)
  process.exitCode = 1
} finally {
  process.stdin.destroy()
}
