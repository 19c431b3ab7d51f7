// Package healthcheck decides which endpoints may be picked, and writes it into the view
// of each cluster. It makes one state of three sources:
//
//   - The registry's word goes first: critical endpoints and those in maintenance get no
//     requests, whatever else is known.
//   - Active probes (check.go, probe.go) take out what the registry calls passing and does
//     not answer well.
//   - What requests meet (evidence.go) ejects an endpoint for a time that grows with each
//     ejection (ejection.go), by counts in a row and by comparison with its peers
//     (peers.go).
//
// The view (view.go) holds the endpoints of the nearest tier, and of the next as far as
// that one is not fit for all; new and returning ones grow slowly into their weight; when
// too few are healthy, all are tried.
//
// What is known of an endpoint is its record (record.go), by identity: registry, service,
// ID and address. It outlives tables, configurations, and absences of some minutes.
//
// Invariants: nothing else writes a cluster's view, or Health and Out of an endpoint's
// state. A good answer of an endpoint that is well costs requests no lock and no
// allocation.
//
// Goroutines: Adopt is called by the goroutine that builds tables. Observe and Hanging
// are called by any, and only note what they see; conclusions are drawn by Run's
// goroutine, by Adopt, and by probes as they end. Run waits for all probes.
package healthcheck
