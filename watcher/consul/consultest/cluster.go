package consultest

import (
	"context"
	"slices"
	"testing"
)

// clusterSize is the number of servers of a cluster: the fewest that outlive one.
const clusterSize = 3

// Cluster is three servers of one datacenter, which elect a leader among them. Its
// methods are for the test's goroutine. [Join] makes an agent the client of its
// Servers.
type Cluster struct {
	// Servers are the agents, in no order. They may be killed and restarted one by one.
	Servers []*Agent

	t testing.TB
}

// StartCluster starts three servers and waits until they can be used. The options are
// those of each; [Name] and [Join] are not among them.
func StartCluster(t testing.TB, opts ...Option) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	for range clusterSize {
		c.Servers = append(c.Servers, newAgent(t, opts))
	}
	for _, a := range c.Servers {
		a.opts.servers = c.Servers
	}
	for attempt := 1; ; attempt++ {
		for _, a := range c.Servers {
			a.ports = freePorts(t)
			a.connect()
		}
		err := c.launch()
		if err == nil {
			return c
		}
		inUse := slices.ContainsFunc(c.Servers, func(a *Agent) bool { return a.logHas(addressInUse) })
		if attempt == attempts || !inUse {
			t.Fatalf("consul cluster: %v", err)
		}
		c.Kill()
		for _, a := range c.Servers {
			a.wipe()
		}
	}
}

// launch starts all servers, none of which is ready without the others, and waits for
// them.
func (c *Cluster) launch() error {
	for _, a := range c.Servers {
		if err := a.begin(); err != nil {
			return err
		}
	}
	for _, a := range c.Servers {
		if err := a.await(a.ready); err != nil {
			return err
		}
	}
	return nil
}

// Leader is the server that leads the cluster, as those that run agree. It waits for
// an election that is under way.
func (c *Cluster) Leader() (leader *Agent) {
	c.t.Helper()
	Eventually(c.t, "the servers agree on a leader", func() bool {
		leader = nil
		for _, a := range c.Servers {
			if a.proc == nil {
				continue
			}
			of := c.leaderOf(a)
			if of == nil || leader != nil && of != leader {
				return false
			}
			leader = of
		}
		return leader != nil && leader.proc != nil
	})
	return leader
}

// leaderOf is the server that one of them holds for the leader, nil for none.
func (c *Cluster) leaderOf(a *Agent) *Agent {
	ctx, cancel := context.WithTimeout(context.Background(), requestLimit)
	defer cancel()
	addr, err := a.client.Status().LeaderWithQueryOptions(query(ctx))
	i := slices.IndexFunc(c.Servers, func(s *Agent) bool { return s.ports.addr(s.ports.server) == addr })
	if err != nil || i < 0 {
		return nil
	}
	return c.Servers[i]
}

// Kill ends all servers at once (SIGKILL) and waits for them; their data stay.
func (c *Cluster) Kill() {
	c.t.Helper()
	for _, a := range c.Servers {
		a.Kill()
	}
}

// Restart starts all servers that do not run, with the ports and data they had. It
// returns when all can be used.
func (c *Cluster) Restart() {
	c.t.Helper()
	for _, a := range c.Servers {
		if a.proc == nil {
			a.relaunch(a.up)
		}
	}
	for _, a := range c.Servers {
		if err := a.await(a.ready); err != nil {
			c.t.Fatalf("consul %s, again: %v", a.opts.name, err)
		}
	}
}
