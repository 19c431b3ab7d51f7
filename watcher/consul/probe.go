package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/hashicorp/consul/api"

	"usher/config"
)

// Found is what Probe saw.
type Found struct {
	Leader string
	// Services is the number of services in the catalog, Announcing of those with a
	// tag or meta that announces a route.
	Services, Announcing int
	// Problems are the rights that the token lacks, as the rules that an ACL policy would
	// need; none when it has all that watching needs.
	Problems []string
}

// Probe asks an agent once what a Registry would ask it, to find out before a
// start whether it can. Of several datacenters it asks the first.
func Probe(ctx context.Context, conf config.Consul) (Found, error) {
	client, transport, err := newClient(conf)
	if err != nil {
		return Found{}, err
	}
	defer transport.CloseIdleConnections()
	p := &probe{client: client, conf: conf}
	opts := (&api.QueryOptions{}).WithContext(ctx)
	if len(conf.Datacenters) > 0 {
		opts.Datacenter = conf.Datacenters[0]
	}
	leader, err := client.Status().LeaderWithQueryOptions(opts)
	if err != nil {
		return Found{}, err
	}
	if leader == "" {
		return Found{}, errNoLeader
	}
	found, err := p.catalog(opts)
	if err != nil {
		return Found{}, err
	}
	found.Leader = leader
	if found.Problems, err = p.rights(opts); err != nil {
		return Found{}, err
	}
	return found, nil
}

// probe is one Probe under way.
type probe struct {
	client *api.Client
	conf   config.Consul
	// partial says that the catalog's list leaves out services.
	partial bool
}

// catalog counts the services.
func (p *probe) catalog(opts *api.QueryOptions) (Found, error) {
	services, meta, err := p.client.Catalog().Services(opts)
	if err != nil {
		return Found{}, err
	}
	// Consul does not tell what it leaves out to who has no token; but its own service is
	// in the list of everybody who may see it, outside of other namespaces and partitions.
	_, self := services[consulName]
	p.partial = meta.ResultsFilteredByACLs || !self && p.conf.Namespace == "" && p.conf.Partition == ""
	filtered := *opts
	filtered.Filter = metaFilterFor(p.conf)
	byMeta, _, err := p.client.Catalog().Services(&filtered)
	if err != nil {
		return Found{}, err
	}
	m := &mapper{conf: p.conf}
	return Found{Services: len(services), Announcing: countAnnouncing(services, byMeta, m.wantsTags)}, nil
}

// The rules of the least policy, but for the key-value store's.
const (
	serviceRule = `service_prefix "" { policy = "read" }`
	nodeRule    = `node_prefix "" { policy = "read" }`
)

// rights returns the rules that the token's policies lack.
func (p *probe) rights(opts *api.QueryOptions) (missing []string, err error) {
	nodes, meta, err := p.client.Catalog().Nodes(opts)
	if err != nil {
		return nil, err
	}
	noNodes := meta.ResultsFilteredByACLs || len(nodes) == 0
	noServices := p.partial
	if noNodes && noServices {
		// The list leaves out the services of nodes that cannot be seen as well.
		_, _, err = p.client.DiscoveryChain().Get(consulName, nil, opts)
		noServices = isDenied(err)
	}
	if noServices {
		missing = append(missing, serviceRule)
	}
	if noNodes {
		missing = append(missing, nodeRule)
	}
	rule, err := p.keyRight(opts)
	if err != nil {
		return nil, err
	}
	if rule != "" {
		missing = append(missing, rule)
	}
	rule, err = p.meshRight(opts)
	if err != nil {
		return nil, err
	}
	if rule != "" {
		missing = append(missing, rule)
	}
	return missing, nil
}

// meshRight returns the rule that being part of the service mesh lacks, empty for none.
// The agent makes a certificate to find out.
func (p *probe) meshRight(opts *api.QueryOptions) (rule string, err error) {
	if !p.conf.Connect.Enabled {
		return "", nil
	}
	own := *opts
	own.Datacenter = ""
	_, _, err = p.client.Agent().ConnectCALeaf(p.conf.Connect.Service, &own)
	switch {
	case isDenied(err):
		return fmt.Sprintf("service %q { policy = \"write\" }", p.conf.Connect.Service), nil
	case err != nil:
		return "", fmt.Errorf("service mesh: %w", err)
	}
	return "", nil
}

// keyRight returns the rule that reading the key-value store lacks, empty for none.
// Whether a key may be listed is a right of its own where the servers say so.
func (p *probe) keyRight(opts *api.QueryOptions) (rule string, err error) {
	prefix := p.conf.KVPrefix
	if prefix == "" {
		return "", nil
	}
	if _, _, err := p.client.KV().Keys(prefix, "/", opts); isDenied(err) {
		return fmt.Sprintf("key_prefix %q { policy = \"list\" }", prefix), nil
	} else if err != nil {
		return "", err
	}
	// A key that need not exist: without the right it is refused all the same.
	_, _, err = p.client.KV().Get(prefix, opts)
	if isDenied(err) {
		return keyRule(prefix), nil
	}
	return "", err
}

// keyRule is the rule that reading the keys below a prefix needs.
func keyRule(prefix string) string { return fmt.Sprintf("key_prefix %q { policy = \"read\" }", prefix) }

func isDenied(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code == http.StatusForbidden
}

func countAnnouncing(services, byMeta map[string][]string, wants func(string, []string) bool) (n int) {
	for name, tags := range services {
		if _, meta := byMeta[name]; meta || wants(name, tags) {
			n++
		}
	}
	return n
}
