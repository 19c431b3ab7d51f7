package consultest

import (
	"crypto/rand"
	"fmt"
	"strings"
)

// Option changes how an agent is started.
type Option func(*options)

type options struct {
	name       string
	datacenter string
	token      string
	tls        bool
	join       []*Agent
	joinWAN    []*Agent
	// servers are those of the cluster that the agent is one of; none: it is its own.
	servers []*Agent
	client  bool
	config  []string
}

func newOptions(opts []Option) options {
	o := options{name: "node-" + strings.ToLower(rand.Text()[:8]), datacenter: "dc1"}
	for _, f := range opts {
		f(&o)
	}
	return o
}

// Name sets the node name; the default is a unique one.
func Name(node string) Option { return func(o *options) { o.name = node } }

// Datacenter sets the datacenter; the default is dc1.
func Datacenter(dc string) Option { return func(o *options) { o.datacenter = dc } }

// Join makes the agent a client, without a state of its own, of these servers.
func Join(servers ...*Agent) Option {
	return func(o *options) { o.client, o.join = true, servers }
}

// JoinWAN connects the agent's datacenter with that of these servers.
func JoinWAN(servers ...*Agent) Option { return func(o *options) { o.joinWAN = servers } }

// ACL turns access control on and denies what no token allows. The agent's client
// uses [Agent.Token]; [Agent.NewToken] makes lesser ones. A client agent needs the
// option as well as its server.
func ACL() Option {
	return func(o *options) { o.token = "5e17ab1e-0000-4000-8000-00000000c0de" }
}

// TLS makes the agent speak HTTPS, with h2, at [Agent.TLSAddr] too.
func TLS() Option { return func(o *options) { o.tls = true } }

// Config adds HCL to the agent's configuration; what it sets wins.
func Config(hcl string) Option {
	return func(o *options) { o.config = append(o.config, hcl) }
}

// MaxConns sets http_max_conns_per_client, which is 200 by default.
func MaxConns(n int) Option {
	return Config(fmt.Sprintf("limits { http_max_conns_per_client = %d }", n))
}
