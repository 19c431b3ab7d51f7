// Package balance holds the policies by which an endpoint is chosen, one in a
// file. A policy prepares what it can when a table is built; its Pick neither
// locks nor allocates.
//
// All of them keep to the weights of the view, which says who may be picked at all.
// Round robin, random, least request and EWMA look at the view alone; those that hash
// (maglev, ring_hash) have a table of all endpoints, made from their own weights, and
// pass over those that the view leaves out or gives less than the table does. So a
// key changes its endpoint only when it must.
package balance

import (
	"crypto/rand"

	"usher/routetable"
)

// All returns the policies by the names the configuration knows them by. A cluster that
// is sticky is so by its own secret, and without one by one made up in this call: keep
// what it returns for as long as the cookies are to be known.
func All() map[string]routetable.Balancer {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails (crypto/rand)
	policies := map[string]routetable.Balancer{
		"least_request": NewLeastRequest,
		"round_robin":   NewRoundRobin,
		"random":        NewRandom,
		"ewma":          NewEWMA,
		"maglev":        NewMaglev,
		"ring_hash":     NewRingHash,
	}
	for name, policy := range policies {
		policies[name] = sticking(policy, secret[:])
	}
	return policies
}
