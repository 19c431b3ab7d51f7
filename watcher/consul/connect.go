package consul

import (
	"cmp"
	"slices"

	"github.com/hashicorp/consul/api"

	"usher/watcher"
)

// A service that is reached over the service mesh (Consul Connect) is watched twice: as
// every service, which says what its instances are, and for what stands for it in the
// mesh, which says where they are reached. Both answers together make its instances.

// meshes says whether the configuration has a service reached over the mesh.
func (c *coordinator) meshes(name string) bool {
	return c.conf.Connect.Enabled && c.Options.Mesh != nil && c.Options.Mesh(name)
}

// meshedNow starts or ends the watching of what stands for a service in the mesh, as the
// configuration or its instances ask for it, and says whether its instances are made of
// both answers.
func (c *coordinator) meshedNow(r *result) bool {
	wanted := c.meshes(r.name) || c.conf.Connect.Enabled && slices.ContainsFunc(r.instances, asksForMesh)
	if wanted {
		c.start(target{r.name, true})
	} else {
		c.endMesh(r.name)
	}
	return wanted
}

func asksForMesh(in watcher.Instance) bool { return watcher.AsksForMesh(in.Tags, in.Meta) }

// endMesh ends the watching of what stands for a service in the mesh, if it is watched.
func (c *coordinator) endMesh(name string) {
	t := target{name, true}
	if s := c.services[t]; s != nil {
		c.stop(t, s)
		c.send(watcher.Update{Report: &watcher.Report{Watches: -1}})
	}
}

// sendMeshed sends a service that is reached over the mesh, as soon as both of its answers
// are there. r is the one that came just now.
func (c *coordinator) sendMeshed(name string, r *result) {
	own, proxies := c.services[target{name: name}], c.services[target{name, true}]
	u := watcher.Update{Report: &r.report}
	if own != nil && own.last != nil && proxies != nil && proxies.last != nil {
		u.Service, u.Since = name, r.since
		u.Instances = c.mapper.join(own.last, proxies.last, c.meshes(name))
		u.Excused = slices.Clone(own.last.excused)
		u.Suspect = cmp.Or(own.last.suspect, proxies.last.suspect)
	}
	c.send(u)
}

// join returns the instances of a service as the mesh reaches them. All of them are meant,
// or those that ask for it.
func (m *mapper) join(own, mesh *result, all bool) []watcher.Instance {
	stand := standIns(mesh.entries)
	out := make([]watcher.Instance, 0, len(own.instances))
	for i, in := range own.instances {
		e := own.entries[i]
		if !all && !asksForMesh(in) {
			out = append(out, in)
			continue
		}
		in.Mesh = meshOf(e)
		p := stand.of(e)
		switch {
		case native(e.Service):
		case p != nil:
			m.reachThrough(&in, p)
		case mesh.suspect != "":
			continue // what may only be hidden is missing, and no fault
		default:
			outOfReach(&in, "no proxy of the service mesh is registered for it")
		}
		out = append(out, in)
	}
	return out
}

// meshOf is who an instance must show itself to be.
func meshOf(e *api.ServiceEntry) *watcher.Mesh {
	return &watcher.Mesh{
		Service: e.Service.Service, Namespace: e.Service.Namespace, Partition: e.Service.Partition,
		Datacenter: e.Node.Datacenter,
	}
}

// native says whether an instance speaks the mesh's TLS itself.
func native(s *api.AgentService) bool { return s.Connect != nil && s.Connect.Native }

// reachThrough makes a proxy the address of an instance. The worse of both is its status.
func (m *mapper) reachThrough(in *watcher.Instance, proxy *api.ServiceEntry) {
	in.Address = m.addressOf(proxy)
	if status, cause := proxyHealth(proxy); status > in.Status {
		in.Status, in.Cause = status, "its proxy: "+cause
	}
}

// outOfReach keeps an instance out that should be reached over the mesh and cannot be.
func outOfReach(in *watcher.Instance, why string) {
	if in.Status < watcher.Critical {
		in.Status, in.Cause = watcher.Critical, why
	}
}

// proxyHealth is the health of a proxy by its own checks: those of its node are its
// instance's as well.
func proxyHealth(e *api.ServiceEntry) (watcher.Status, string) {
	own := slices.DeleteFunc(slices.Clone(e.Checks), func(c *api.HealthCheck) bool { return c.ServiceID == "" })
	return health(own)
}

// proxies are the sidecars of a service.
type proxies struct {
	// by are those that stand for one instance, by its identity, nodes those that stand for
	// the service alone, by that of their node.
	by, nodes map[string]*api.ServiceEntry
}

// standIns sorts what stands for a service in the mesh. Gateways are left out. Of several
// for the same the best is taken, then that with the lowest ID.
func standIns(entries []*api.ServiceEntry) *proxies {
	p := &proxies{map[string]*api.ServiceEntry{}, map[string]*api.ServiceEntry{}}
	for _, e := range entries {
		if e.Service.Kind != api.ServiceKindConnectProxy || e.Service.Proxy == nil {
			continue
		}
		in, key := p.nodes, identityOf(e, "")
		if id := e.Service.Proxy.DestinationServiceID; id != "" {
			in, key = p.by, identityOf(e, id)
		}
		if other := in[key]; other == nil || compareProxies(e, other) < 0 {
			in[key] = e
		}
	}
	return p
}

func compareProxies(a, b *api.ServiceEntry) int {
	x, _ := proxyHealth(a)
	y, _ := proxyHealth(b)
	return cmp.Or(cmp.Compare(x, y), cmp.Compare(a.Service.ID, b.Service.ID))
}

// of is the proxy of an instance: its own, else one of its node that stands for the
// service; nil: none.
func (p *proxies) of(e *api.ServiceEntry) *api.ServiceEntry {
	if own := p.by[identity(e)]; own != nil {
		return own
	}
	return p.nodes[identityOf(e, "")]
}
