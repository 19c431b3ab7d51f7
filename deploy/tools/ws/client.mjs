// The client of usher's WebSocket tests on npm's ws:
//
//   node client.mjs URL [CA]
//
// plays every case against the echo server that the tests have at URL, one after the
// other, and prints a line about each. It exits 1 if one failed.
import { readFileSync } from 'node:fs'
import { once } from 'node:events'
import { createHash, randomBytes } from 'node:crypto'
import WebSocket from 'ws'

const [url, ca] = process.argv.slice(2)
const patience = 60_000

// talk opens a connection to a path and hands it to a function; it is cut at the end.
async function talk(path, play) {
  const ws = new WebSocket(url + path, {
    ca: ca && readFileSync(ca), perMessageDeflate: false, maxPayload: 64 << 20, handshakeTimeout: patience
  })
  const failed = new Promise((_, reject) => {
    ws.once('error', reject)
    setTimeout(() => reject(new Error('nothing happens')), patience).unref()
  })
  try {
    await Promise.race([failed, once(ws, 'open')])
    await Promise.race([failed, play(ws)])
  } finally {
    ws.terminate()
  }
}

function same(what, got, want) {
  if (got !== want) throw new Error(`${what} is ${got}, not ${want}`)
}

const digest = (data) => createHash('sha256').update(data).digest('hex')

// echoed sends a message and reads it back.
async function echoed(ws, data, binary) {
  const back = once(ws, 'message')
  ws.send(data, { binary })
  const [got, isBinary] = await back
  same('binary', isBinary, binary)
  same('length', got.length, Buffer.byteLength(data))
  same('message', digest(got), digest(data))
}

async function closed(ws) {
  const [code, reason] = await once(ws, 'close')
  return `${code} ${reason}`
}

const cases = {
  messages: () => talk('/echo', async (ws) => {
    for (const text of ['', 'hello', 'grüße', '0123456789'.repeat(30), 'long '.repeat(50_000)]) {
      await echoed(ws, text, false)
      await echoed(ws, Buffer.from(text), true)
    }
  }),

  fragments: () => talk('/echo', async (ws) => {
    const back = once(ws, 'message')
    let want = ''
    for (let i = 0; i < 50; i++) {
      const part = String.fromCharCode(97 + i % 26).repeat(1 + i * 100)
      want += part
      ws.send(part, { fin: i === 49, binary: false })
      if (i % 10 === 5) {
        const pong = once(ws, 'pong')
        ws.ping('within')
        same('pong', (await pong)[0].toString(), 'within')
      }
    }
    const [got, isBinary] = await back
    same('binary', isBinary, false)
    same('message', got.toString(), want)
  }),

  ping: () => talk('/ping', async (ws) => {
    let pings = 0
    ws.on('ping', () => pings++)
    for (const data of ['', 'a', 'x'.repeat(125)]) {
      const pong = once(ws, 'pong')
      ws.ping(data)
      same('pong', (await pong)[0].toString(), data)
    }
    const end = closed(ws)
    ws.send('now you')
    same('close', await end, '1000 pinged')
    same('pings', pings, 3)
  }),

  large: () => talk('/echo', async (ws) => {
    await echoed(ws, randomBytes(16 << 20), true)
    await echoed(ws, 'x'.repeat(16 << 20), false)
  }),

  'close by the server': async () => {
    for (const code of [1000, 1001, 1013, 3000, 4999]) {
      await talk(`/close?code=${code}`, async (ws) => {
        const end = closed(ws)
        ws.send('go')
        same('close', await end, `${code} because`)
      })
    }
  },

  'close by the client': async () => {
    for (const code of [1000, 1001, 1013, 3000, 4999]) {
      await talk('/echo', async (ws) => {
        const end = closed(ws)
        ws.close(code, 'because')
        same('close', await end, `${code} because`) // the answer repeats it
      })
    }
  },

  'cut by the server': () => talk('/cut', async (ws) => {
    const end = closed(ws)
    ws.on('message', () => { throw new Error('half a message came') })
    ws.send('go')
    same('close', await end, '1006 ')
  }),

  'cut by the client': () => talk('/echo', async (ws) => {
    ws.send('half', { fin: false, binary: false })
    await echoedPing(ws)
    ws.terminate()
  })
}

async function echoedPing(ws) {
  const pong = once(ws, 'pong')
  ws.ping('')
  await pong
}

for (const [name, play] of Object.entries(cases)) {
  try {
    await play()
    console.log(`ok ${name}`)
  } catch (err) {
    console.log(`FAILED ${name}: ${err.message}`)
    process.exitCode = 1
  }
}
