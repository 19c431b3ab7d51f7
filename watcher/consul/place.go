package consul

import (
	"cmp"
	"math"
	"net"
	"strconv"

	"github.com/hashicorp/consul/api"

	"usher/watcher"
)

// address is host:port of an instance, and what is wrong with the port it asks for.
func (m *mapper) address(e *api.ServiceEntry) (address, problem string) {
	host, port := m.tagged(e)
	if host == "" {
		host = e.Service.Address
	}
	if host == "" {
		host = e.Node.Address
	}
	port, problem = choosePort(e.Service, port)
	return net.JoinHostPort(host, strconv.Itoa(port)), problem
}

// addressOf is host:port of a proxy: what the meta says of ports is its service's.
func (m *mapper) addressOf(proxy *api.ServiceEntry) string {
	host, port := m.tagged(proxy)
	host = cmp.Or(host, proxy.Service.Address, proxy.Node.Address)
	return net.JoinHostPort(host, strconv.Itoa(cmp.Or(port, proxy.Service.Port)))
}

// tagged is the address of the configured name, and its port where it has one of its
// own. The node's counts only where the service has no address: another address of
// the node need not lead to it.
func (m *mapper) tagged(e *api.ServiceEntry) (host string, port int) {
	if m.conf.TaggedAddress == "" {
		return "", 0
	}
	if a := e.Service.TaggedAddresses[m.conf.TaggedAddress]; a.Address != "" {
		return a.Address, a.Port
	}
	if e.Service.Address != "" {
		return "", 0
	}
	return e.Node.TaggedAddresses[m.conf.TaggedAddress], 0
}

// choosePort is the port of an instance: the one its meta asks for, else that of its
// tagged address (0: none), else its own, else the default among its named ones. A
// wish that cannot be met is a problem to tell of, not a reason to lose the instance.
func choosePort(s *api.AgentService, tagged int) (port int, problem string) {
	want := s.Meta[watcher.MetaPort]
	if want != "" {
		if port, ok := findPort(s.Ports, want); ok {
			return port, ""
		}
		problem = watcher.MetaPort + " " + strconv.Quote(want) + " names no port"
	}
	switch {
	case tagged != 0:
		return tagged, problem
	case s.Port != 0:
		return s.Port, problem
	default:
		return s.DefaultPort(), problem
	}
}

// findPort returns the port with this name, or the one with this number.
func findPort(ports api.ServicePorts, want string) (port int, ok bool) {
	for _, p := range ports {
		if p.Name == want && p.Port > 0 {
			return p.Port, true
		}
	}
	n, err := strconv.ParseUint(want, 10, 16)
	return int(n), err == nil && n > 0
}

// zone is where an instance runs; empty: nobody says.
func zone(e *api.ServiceEntry) string {
	if z := e.Service.Meta[watcher.MetaZone]; z != "" {
		return z
	}
	if z := e.Node.Meta[watcher.MetaZone]; z != "" {
		return z
	}
	for _, l := range []*api.Locality{e.Service.Locality, e.Node.Locality} {
		if l != nil && l.Zone != "" {
			return l.Zone
		}
	}
	return ""
}

// tier is how near an instance is: the datacenters in their order and, within each,
// usher's own zone before the others and before those that tell none.
func (m *mapper) tier(dc, zone string) uint8 {
	tier := 0
	if m.rank != nil {
		tier = 2 * min(max(0, m.rank(dc)), math.MaxUint8)
	}
	if m.zone != "" && zone != m.zone {
		tier++
	}
	return uint8(min(tier, math.MaxUint8))
}
