package proxy_test

import (
	"usher/config"
	"usher/routetable"
)

// firstUntried picks the first endpoint of the view that was not tried: tests know whom it
// will be.
type firstUntried struct{}

func (firstUntried) Pick(v *routetable.View, p *routetable.PickInfo) (int, error) {
	for _, i := range v.Usable {
		if !p.Tried(i) {
			return int(i), nil
		}
	}
	return -1, routetable.ErrNoEndpoint
}

func firstListed() map[string]routetable.Balancer {
	return map[string]routetable.Balancer{
		"first": func(*routetable.Cluster, *routetable.ClusterState) routetable.Picker { return firstUntried{} },
	}
}

func withBalance(p config.Policy, name string) config.Policy {
	p.Balance = name
	return p
}
