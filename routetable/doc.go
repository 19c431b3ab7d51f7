// Package routetable turns a catalog and the configuration's rules into an
// immutable table, and finds the route of a request in it.
//
// [Build] is pure: no I/O, no clock, no metrics. It never fails. A rule that
// cannot be used is left out and reported as a [Refusal]; a claim that another
// outranks is reported as a [Conflict]; everything else is served.
//
// Invariant: nothing reachable from a [Table] changes after Build, save two
// things: the [State] of an endpoint (atomics, carried from table to table), and
// the view of each [Cluster] (an atomic pointer that healthcheck alone writes).
//
// Goroutines: one goroutine builds; any number read, without locks.
package routetable
