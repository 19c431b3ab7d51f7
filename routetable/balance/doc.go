// Package balance holds the policies by which an endpoint is chosen, one in a
// file. A policy prepares what it can when a table is built; its Pick neither
// locks nor allocates.
package balance

import "usher/routetable"

// All returns the policies by the names the configuration knows them by.
func All() map[string]routetable.Balancer {
	return map[string]routetable.Balancer{
		"least_request": NewLeastRequest,
		"round_robin":   NewRoundRobin,
	}
}

// first returns the first usable endpoint that was not tried, the last resort of
// a policy whose own choices were.
func first(v *routetable.View, p *routetable.PickInfo) (int, error) {
	for _, i := range v.Usable {
		if !p.Tried(i) {
			return int(i), nil
		}
	}
	return -1, routetable.ErrNoEndpoint
}
