// A value that tells of its changes.
export function signal(value) {
  const listeners = new Set()
  return {
    get: () => value,
    set(next) {
      value = next
      for (const fn of [...listeners]) fn(value)
    },
    // subscribe calls fn now and with each value to come; what it returns ends that.
    subscribe(fn) {
      listeners.add(fn)
      fn(value)
      return () => listeners.delete(fn)
    }
  }
}

// scope gathers what is to be ended with a page.
export function scope() {
  const ends = []
  const controller = new AbortController()
  return {
    signal: controller.signal,
    add(end) {
      ends.push(end)
      return end
    },
    close() {
      controller.abort()
      for (const end of ends.splice(0).reverse()) end()
    }
  }
}
