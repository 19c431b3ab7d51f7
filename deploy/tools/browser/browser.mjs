// A Chromium that watches what a page does: what it asks of whom, what it complains of, and
// whether it can be used by everybody.
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { chromium } from 'playwright-core'

export const patience = 60_000
const axe = readFileSync(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8')

// open starts one for the dashboard at a URL; pictures is the folder for screenshots.
export async function open(url, pictures) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ['--no-sandbox', '--disable-background-networking', '--disable-gpu']
  })
  return new Session(browser, url, pictures)
}

class Session {
  constructor(browser, url, pictures) {
    Object.assign(this, { browser, url, pictures, wrong: [], expected: [], asked: 0 })
  }

  // page opens a tab. Its theme is light or dark.
  async page({ theme = 'light', width = 1440, height = 900, reduced = false } = {}) {
    const context = await this.browser.newContext({
      colorScheme: theme,
      viewport: { width, height },
      reducedMotion: reduced ? 'reduce' : 'no-preference'
    })
    await context.addInitScript(() => {
      document.addEventListener('securitypolicyviolation', (e) =>
        console.error(`policy: ${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`)
      )
    })
    const page = await context.newPage()
    page.setDefaultTimeout(patience)
    page.on('request', (r) => this.request(r.url()))
    page.on('websocket', (w) => this.wrong.push(`a WebSocket to ${w.url()}`))
    page.on('pageerror', (e) => this.wrong.push(`an error that nobody caught: ${e.message} ${e.stack}`))
    page.on('console', (m) => {
      if (m.type() === 'error' || m.type() === 'warning') this.complaint(`${m.text()} ${m.location().url}`)
    })
    return page
  }

  request(url) {
    this.asked++
    if (!url.startsWith(`${this.url}/`) && !url.startsWith('data:')) this.wrong.push(`a request to ${url}`)
  }

  // complaint notes what a page writes to the console, unless it is expected.
  complaint(text) {
    if (!this.expected.some((e) => text.includes(e))) this.wrong.push(`the console says: ${text}`)
  }

  // shot keeps a picture.
  async shot(page, name, options = {}) {
    await page.screenshot({ path: `${this.pictures}/${name}.png`, animations: 'disabled', ...options })
  }

  // usable runs axe and notes what is serious.
  async usable(page, name) {
    await page.evaluate(axe)
    const result = await page.evaluate(() =>
      globalThis.axe.run(document, {
        preload: false,
        runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']
      })
    )
    for (const v of result.violations) {
      const where = v.nodes
        .slice(0, 3)
        .map((n) => `${n.target.join(' ')}: ${n.any[0]?.message ?? n.failureSummary}`)
        .join('; ')
      const text = `axe, ${name}: ${v.impact} ${v.id}: ${where}`
      if (v.impact === 'serious' || v.impact === 'critical') this.wrong.push(text)
      else console.log(text)
    }
  }

  // close ends it and throws what was wrong.
  async close() {
    await this.browser.close()
    if (this.wrong.length) throw new Error([...new Set(this.wrong)].slice(0, 20).join('\n'))
    console.log(`${this.asked} requests, all of them to usher; nothing on the console`)
  }
}

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

// ask makes the test do something, and waits until it is done.
export async function ask(what, arg = '') {
  console.log(`DO ${JSON.stringify({ do: what, arg })}`)
  const { value } = await answers.next()
  if (value !== 'ok') throw new Error(`${what} ${arg}: ${value}`)
}

export function same(what, got, want) {
  if (got !== want) throw new Error(`${what}: ${JSON.stringify(got)}, not ${JSON.stringify(want)}`)
}

export function holds(what, yes) {
  if (!yes) throw new Error(`it does not hold that ${what}`)
}
