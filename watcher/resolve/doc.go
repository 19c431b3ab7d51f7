// Package resolve resolves the names that registries give in place of addresses,
// so that a request never waits for DNS.
//
// [Wrap] puts itself between a [watcher.Discoverer] and its receiver. Each instance
// whose host is a name becomes one instance for each address of it; everything else
// passes as it is. A name is resolved once, whatever number of instances use it,
// and again when the TTL of its answer is over; a change sends the services that
// use it again. What nobody uses any more is forgotten.
//
// Invariants: a failure takes no address away. A service is delayed by names nobody
// has asked for yet, at most by [Options.Deadline], and delays no other. That
// everything has been sent (Synced, Answered) is not said before the services that
// came before it.
//
// Goroutines: Run's decides and is the only one that sends; the inner Run has one,
// and so has each lookup under way. All end before Run returns.
package resolve
