// Package watcher turns what service registries say into one stream of whole,
// trustworthy catalogs.
//
// A [Discoverer] watches one registry and sends an [Update] for each service that
// changed. The [Manager] owns the discoverers: it merges their updates, starts
// them again when they fail, and hands out an immutable [Catalog] whenever
// something is new.
//
// Invariant: stale beats partial. An error never removes anything; only an update
// that says so, or a registry that leaves the configuration, takes a service out.
//
// Goroutines: the Manager runs one for each discoverer, and each discoverer owns
// those it starts. All of them end before Close returns.
package watcher
