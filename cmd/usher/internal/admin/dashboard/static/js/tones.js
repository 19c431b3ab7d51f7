// toneOfState is how a state of an instance looks.
export function toneOfState(state) {
  if (state === 'healthy' || state === 'passing') return 'ok'
  if (state === 'critical' || state === 'unhealthy' || state === 'ejected') return 'bad'
  return state === 'warning' || state === 'held' || state === 'probation' ? 'warn' : 'info'
}
