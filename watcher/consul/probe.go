package consul

import (
	"context"

	"github.com/hashicorp/consul/api"

	"usher/config"
)

// Found is what Probe saw.
type Found struct {
	Leader string
	// Services is the number of services in the catalog, Announcing of those with a
	// tag or meta that announces a route.
	Services, Announcing int
}

// Probe asks an agent once what a Registry would ask it, to find out before a
// start whether it can.
func Probe(ctx context.Context, conf config.Consul) (Found, error) {
	client, transport, err := newClient(conf)
	if err != nil {
		return Found{}, err
	}
	defer transport.CloseIdleConnections()
	opts := (&api.QueryOptions{}).WithContext(ctx)
	leader, err := client.Status().LeaderWithQueryOptions(opts)
	if err != nil {
		return Found{}, err
	}
	if leader == "" {
		return Found{}, errNoLeader
	}
	services, _, err := client.Catalog().Services(opts)
	if err != nil {
		return Found{}, err
	}
	opts.Filter = metaFilterFor(conf)
	byMeta, _, err := client.Catalog().Services(opts)
	if err != nil {
		return Found{}, err
	}
	m := &mapper{conf: conf}
	return Found{leader, len(services), countAnnouncing(services, byMeta, m.wantsTags)}, nil
}

func countAnnouncing(services, byMeta map[string][]string, wants func(string, []string) bool) (n int) {
	for name, tags := range services {
		if _, meta := byMeta[name]; meta || wants(name, tags) {
			n++
		}
	}
	return n
}
