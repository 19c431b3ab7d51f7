// Package healthcheck decides which endpoints may be picked, from what the
// registry says and from what requests meet, and writes it into the view of each
// cluster.
//
// The registry's word comes first: passing and warning endpoints take traffic,
// critical ones and those in maintenance do not. Among those that may, one that
// could not be connected to is ejected for a short time that doubles with each
// further failure. Ejection never empties a cluster: when all its endpoints are
// ejected, all are tried.
//
// Invariant: nothing else writes a cluster's view or the health fields of an
// endpoint's state.
//
// Goroutines: Adopt is called by the goroutine that builds tables. ConnectFailed
// and Succeeded are called by any. One goroutine, Run's, keeps the views up to
// date between tables.
package healthcheck
