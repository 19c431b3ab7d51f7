// The client of the admin API. A token, where one is asked for, is kept for this tab alone.
const base = '/api/v1'
const tokenKey = 'usher-token'
const patience = 20_000

// ApiError is an answer that is not 2xx; status 0 says that there was none.
export class ApiError extends Error {
  constructor(status, message) {
    super(message)
    this.name = 'ApiError'
    this.status = status
  }
}

export const token = {
  get: () => sessionStorage.getItem(tokenKey) ?? '',
  set: (value) => (value ? sessionStorage.setItem(tokenKey, value) : sessionStorage.removeItem(tokenKey))
}

let refused = () => {}

// onRefused sets what is called when usher asks for a token, or for another one.
export function onRefused(fn) {
  refused = fn
}

// send asks; the answer is the response, whose status is 2xx or 304.
export async function send(path, { method = 'GET', headers = {}, body, signal, endless } = {}) {
  const all = { Accept: 'application/json', ...headers }
  if (token.get()) all.Authorization = `Bearer ${token.get()}`
  const limits = [signal, endless ? null : AbortSignal.timeout(patience)].filter(Boolean)
  let response
  try {
    response = await fetch(base + path, {
      method,
      headers: all,
      body,
      signal: AbortSignal.any(limits),
      cache: 'no-store',
      credentials: 'same-origin'
    })
  } catch (err) {
    if (signal?.aborted) throw err
    throw new ApiError(0, err.name === 'TimeoutError' ? 'no answer in time' : 'no connection')
  }
  if (response.ok || response.status === 304) return response
  if (response.status === 401) refused()
  throw new ApiError(response.status, await reason(response))
}

// reason is what the API says of a failure.
async function reason(response) {
  try {
    const body = await response.json()
    if (body?.error) return body.error
    if (body?.problems?.length) return body.problems.join('; ')
  } catch {
    // no JSON: a proxy in between, perhaps
  }
  return `${response.status} ${response.statusText}`.trim()
}

// kept are the last answers that have an entity tag, by path: what has not changed is not
// sent again, and the same object is handed out, so that a page can tell.
const kept = new Map()
const keepAtMost = 8

export async function get(path, { signal } = {}) {
  const old = kept.get(path)
  const response = await send(path, { signal, headers: old ? { 'If-None-Match': old.tag } : {} })
  if (response.status === 304) return old.value
  const value = await response.json()
  const tag = response.headers.get('ETag')
  kept.delete(path)
  if (tag) kept.set(path, { tag, value })
  if (kept.size > keepAtMost) kept.delete(kept.keys().next().value)
  return value
}

// forget drops what was kept: another usher may answer now.
export const forget = () => kept.clear()

export async function post(path) {
  const response = await send(path, { method: 'POST' })
  const text = await response.text()
  return text ? JSON.parse(text) : null
}

// query writes parameters; a list gives one of each, empty ones are left out.
export function query(params) {
  const q = new URLSearchParams()
  for (const [name, value] of Object.entries(params)) {
    for (const v of [value].flat()) if (v !== '' && v !== null && v !== undefined) q.append(name, v)
  }
  const s = q.toString()
  return s ? `?${s}` : ''
}
