package healthcheck

import (
	"fmt"
	"log/slog"
)

// An endpoint that cannot be connected to leaves the view until it answers again,
// or its time is over.
func ExampleMonitor() {
	m := New(slog.New(slog.DiscardHandler), nil)
	table := build(nil, up("a", "b"))
	m.Adopt(table)
	cluster := table.Clusters()[0]
	fmt.Println(usableIn(cluster))

	m.Observe(cluster.Endpoints[0], Outcome{Kind: ConnectFailed})
	m.refresh() // what Run does
	fmt.Println(usableIn(cluster))

	m.Observe(cluster.Endpoints[0], Outcome{Status: 200})
	m.refresh()
	fmt.Println(usableIn(cluster))
	// Output:
	// [a b]
	// [b]
	// [a b]
}
