// The part of the address behind # names the page: #/services/shop@consul?q=web.

// parse takes it apart.
export function parse(hash) {
  const [path, search = ''] = hash.replace(/^#\/?/, '').split(/\?(.*)/s)
  const parts = path.split('/').filter(Boolean).map(decode)
  return { name: parts[0] ?? 'overview', parts: parts.slice(1), query: new URLSearchParams(search) }
}

function decode(part) {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

// to writes an address.
export function to(name, parts = [], query = {}) {
  const path = [name, ...parts.map(encodeURIComponent)].join('/')
  const q = new URLSearchParams()
  for (const [k, value] of Object.entries(query)) {
    for (const v of [value].flat()) if (v !== '' && v !== null && v !== undefined && v !== false) q.append(k, v)
  }
  const search = q.toString()
  return `#/${name === 'overview' && !parts.length ? '' : path}${search ? `?${search}` : ''}`
}

let pending = 0

// remember puts what a page is set to into its address, without a step of the history; a
// while later, for a browser takes only so many. An address that has become another one is
// left alone: somebody has followed a link.
export function remember(name, parts, query) {
  const at = location.hash
  clearTimeout(pending)
  pending = setTimeout(() => {
    if (location.hash === at) history.replaceState(null, '', to(name, parts, query))
  }, 250)
}

// forgo drops what is not in the address yet: another page is there.
export const forgo = () => clearTimeout(pending)
