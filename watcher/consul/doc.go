// Package consul watches a Consul agent.
//
// One blocking query follows the catalog's list of services and their tags, and a
// second, filtered by the agent, those that announce a route in their meta. Each
// service that announces one, or that the configuration names, has a watcher of
// its own: a plain first read, then blocking queries on its health.
//
// Invariants: an error removes nothing. An answer whose index is lower than the
// last is not applied; the service is read again without an index, and that answer
// is. A name missing from the catalog deletes nothing either: the service's own
// watcher decides.
//
// Goroutines: Run's coordinates and is the only one that sends; each watcher and
// the leader's probe has one. All end before Run returns.
package consul
