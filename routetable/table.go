package routetable

import (
	"usher/config"
	"usher/watcher"
)

// Table is one immutable routing table. See the package's invariant.
type Table struct {
	// Version is the catalog's.
	Version  uint64
	Routes   []*Route
	Clusters []*Cluster
	// Refused are the rules left out, Conflicts the claims that another outranks,
	// Notices what is served though not as it may be meant.
	Refused   []Refusal
	Conflicts []Conflict
	Notices   []Refusal
	// Services tells of each service in the catalog whether it is routed.
	Services []ServiceReport

	hosts    hostTable
	states   map[stateKey]*State
	clusters map[string]*ClusterState
}

// Refusal is a rule, or a part of one, that is not served, and why.
type Refusal struct {
	Service  watcher.Key
	Instance string
	// Where is the tag or the meta key, or the position in a file.
	Where  string
	Reason string
}

// Conflict is a claim of a match that another claim outranks.
type Conflict struct {
	// Match is what both claim, Winner and Loser who claims it.
	Match, Winner, Loser string
}

// ServiceReport says whether a service is routed.
type ServiceReport struct {
	watcher.Key
	Routed bool
	// Reason says why it is not.
	Reason string
}

// Rules are what the configuration says of routing. Build only reads them.
type Rules struct {
	Routes   []config.Route
	Services map[string]config.Service
	Defaults config.Policy
	// Balancers are the policies by name.
	Balancers map[string]Balancer
}

// policy is that of a service: its own or the default one.
func (r *Rules) policy(service string) config.Policy {
	if s, ok := r.Services[service]; ok {
		return s.Policy
	}
	return r.Defaults
}
