// Package metrics counts what usher does and shows it to Prometheus.
//
// The hot path counts on sharded atomics: a [Counter], [Gauge] or [Histogram] has
// one cell a shard, each on a cache line of its own, and a connection adds to the
// shard it was given for life. Nothing is locked and nothing is allocated once a
// series exists; the cells are added up when Prometheus scrapes. What happens
// seldom (discovery, builds, reloads) uses client_golang's own vectors.
//
// Handles are resolved when a table is published and kept beside its routes. A
// series whose route has left is shown once more and then forgotten.
//
// No label ever comes from a client: not the path, the Host nor the address, and
// an unknown method is OTHER.
package metrics
