// poll runs a task again and again, a while after it ended, and not while nobody looks.
// The task is given a signal that ends it. now() runs it at once. One that takes long is run
// less often, so that a large usher is not kept busy by who looks at it.
const rest = 10

export function poll(task, every) {
  const controller = new AbortController()
  let timer = 0
  let running = false
  let again = false

  async function turn() {
    clearTimeout(timer)
    if (controller.signal.aborted || document.hidden) return
    if (running) {
      again = true
      return
    }
    running = true
    const begin = performance.now()
    try {
      await task(controller.signal)
    } catch (err) {
      if (!controller.signal.aborted) console.warn('a task failed:', err)
    }
    running = false
    if (controller.signal.aborted || document.hidden) return
    const took = performance.now() - begin
    timer = setTimeout(turn, again ? took : Math.max(every, rest * took))
    again = false
  }

  const seen = () => (document.hidden ? clearTimeout(timer) : turn())
  document.addEventListener('visibilitychange', seen)
  turn()
  return {
    now: turn,
    stop() {
      clearTimeout(timer)
      document.removeEventListener('visibilitychange', seen)
      controller.abort()
    }
  }
}

// throttled calls fn at most once in a while, the last call never lost.
export function throttled(fn, every) {
  let last = -Infinity
  let timer = 0
  const call = () => {
    timer = 0
    last = performance.now()
    fn()
  }
  const throttle = () => {
    if (timer) return
    timer = setTimeout(call, Math.max(0, last + every - performance.now()))
  }
  throttle.cancel = () => clearTimeout(timer)
  return throttle
}
