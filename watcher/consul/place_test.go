package consul

import (
	"strconv"
	"testing"

	"github.com/hashicorp/consul/api"

	"usher/config"
)

func TestAddress(t *testing.T) {
	tagged := func(addr string, port int) map[string]api.ServiceAddress {
		return map[string]api.ServiceAddress{"lan": {Address: "10.9.0.1"}, "wan": {Address: addr, Port: port}}
	}
	named := api.ServicePorts{
		{Name: "admin", Port: 81}, {Name: "http", Port: 8080, Default: true}, {Name: "7", Port: 82},
	}
	meta := func(port string) map[string]string { return map[string]string{"usher-port": port} }
	type svc = api.AgentService
	for name, test := range map[string]struct {
		tag           string
		change        func(s *svc, n *api.Node)
		want, problem string
	}{
		"plain": {want: "10.0.0.2:80"},
		"tagged, with a port of its own": {
			tag: "wan", change: func(s *svc, _ *api.Node) { s.TaggedAddresses = tagged("1.2.3.4", 8443) },
			want: "1.2.3.4:8443",
		},
		"tagged, without": {
			tag: "wan", change: func(s *svc, _ *api.Node) { s.TaggedAddresses = tagged("1.2.3.4", 0) },
			want: "1.2.3.4:80",
		},
		"tagged otherwise": {
			tag: "wan_ipv6", change: func(s *svc, _ *api.Node) { s.TaggedAddresses = tagged("1.2.3.4", 0) },
			want: "10.0.0.2:80",
		},
		"tagged, not asked for": {
			change: func(s *svc, _ *api.Node) { s.TaggedAddresses = tagged("1.2.3.4", 1) },
			want:   "10.0.0.2:80",
		},
		"the node's tag, of a service with an address": {
			tag: "wan", change: func(_ *svc, n *api.Node) { n.TaggedAddresses = map[string]string{"wan": "1.2.3.5"} },
			want: "10.0.0.2:80",
		},
		"the node's tag, of a service without": {
			tag: "wan", change: func(s *svc, n *api.Node) {
				s.Address, n.TaggedAddresses = "", map[string]string{"wan": "1.2.3.5"}
			},
			want: "1.2.3.5:80",
		},
		"neither has the tag": {
			tag: "wan", change: func(s *svc, n *api.Node) { s.Address, n.TaggedAddresses = "", nil },
			want: "10.0.0.1:80",
		},
		"a named port": {
			change: func(s *svc, _ *api.Node) { s.Ports, s.Meta = named, meta("admin") },
			want:   "10.0.0.2:81",
		},
		"a number": {
			change: func(s *svc, _ *api.Node) { s.Meta = meta("9000") },
			want:   "10.0.0.2:9000",
		},
		"a name that is a number": {
			change: func(s *svc, _ *api.Node) { s.Ports, s.Meta = named, meta("7") },
			want:   "10.0.0.2:82",
		},
		"named ones, none asked for": {
			change: func(s *svc, _ *api.Node) { s.Ports = named },
			want:   "10.0.0.2:80",
		},
		"named ones and no port itself": {
			change: func(s *svc, _ *api.Node) { s.Ports, s.Port = named, 0 },
			want:   "10.0.0.2:8080",
		},
		"what is asked for, before the tagged one's": {
			tag: "wan", change: func(s *svc, _ *api.Node) {
				s.TaggedAddresses, s.Ports, s.Meta = tagged("1.2.3.4", 8443), named, meta("admin")
			},
			want: "1.2.3.4:81",
		},
		"a name of no port": {
			change: func(s *svc, _ *api.Node) { s.Ports, s.Meta = named, meta("grpc") },
			want:   "10.0.0.2:80", problem: `usher-port "grpc" names no port`,
		},
		"a name of no port, tagged": {
			tag: "wan", change: func(s *svc, _ *api.Node) {
				s.TaggedAddresses, s.Meta = tagged("1.2.3.4", 8443), meta("grpc")
			},
			want: "1.2.3.4:8443", problem: `usher-port "grpc" names no port`,
		},
		"no such number": {
			change: func(s *svc, _ *api.Node) { s.Meta = meta("65536") },
			want:   "10.0.0.2:80", problem: `usher-port "65536" names no port`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := entry(nil)
			if test.change != nil {
				test.change(e.Service, e.Node)
			}
			m := &mapper{conf: config.Consul{TaggedAddress: test.tag}}
			got := m.instances([]*api.ServiceEntry{e})
			if len(got) != 1 || got[0].Address != test.want || got[0].Problem != test.problem {
				t.Errorf("got %+v, want %s, %q", got, test.want, test.problem)
			}
		})
	}
}

// TestCauseAndProblem: an unmet wish does not hide why an instance is critical.
func TestCauseAndProblem(t *testing.T) {
	e := entry(func(e *api.ServiceEntry) {
		e.Service.Meta = map[string]string{"usher-port": "grpc"}
		e.Checks = api.HealthChecks{{Name: "http", Status: api.HealthCritical}}
	})
	got := new(mapper).instances([]*api.ServiceEntry{e})
	cause, problem := `check "http" is critical`, `usher-port "grpc" names no port`
	if len(got) != 1 || got[0].Cause != cause || got[0].Problem != problem {
		t.Errorf("got %+v, want %s, and %s", got, cause, problem)
	}
}

func TestZone(t *testing.T) {
	zone := func(z string) map[string]string { return map[string]string{"usher-zone": z} }
	locality := func(z string) *api.Locality { return &api.Locality{Region: "r", Zone: z} }
	e := entry(nil)
	for _, step := range []struct {
		add  func()
		want string
	}{
		{func() {}, ""},
		{func() { e.Node.Locality = locality("nl") }, "nl"},
		{func() { e.Service.Locality = locality("") }, "nl"},
		{func() { e.Service.Locality = locality("sl") }, "sl"},
		{func() { e.Node.Meta = zone("nm") }, "nm"},
		{func() { e.Service.Meta = zone("") }, "nm"},
		{func() { e.Service.Meta = zone("sm") }, "sm"},
	} {
		step.add()
		got := new(mapper).instances([]*api.ServiceEntry{e})[0]
		if got.Zone != step.want || got.Datacenter != "dc1" {
			t.Errorf("zone %q in %q, want %q", got.Zone, got.Datacenter, step.want)
		}
	}
}

func TestTier(t *testing.T) {
	ranks := map[string]int{"first": 0, "second": 1, "far": 127, "further": 128, "farthest": 1 << 62, "odd": -1}
	m := &mapper{zone: "a", rank: func(dc string) int { return ranks[dc] }}
	for _, test := range []struct {
		m        *mapper
		dc, zone string
		want     uint8
	}{
		{m, "first", "a", 0},
		{m, "first", "b", 1},
		{m, "first", "", 1},
		{m, "second", "a", 2},
		{m, "second", "b", 3},
		{m, "far", "a", 254},
		{m, "far", "b", 255},
		{m, "further", "a", 255},
		{m, "farthest", "b", 255},
		{m, "odd", "a", 0},
		{&mapper{rank: m.rank}, "second", "b", 2},
		{&mapper{zone: "a"}, "second", "b", 1},
		{&mapper{}, "second", "b", 0},
	} {
		if got := test.m.tier(test.dc, test.zone); got != test.want {
			t.Errorf("from %q to %q in %s: tier %d, want %d", test.m.zone, test.zone, test.dc, got, test.want)
		}
	}
}

// FuzzPort: whatever the meta asks for, the instance has a port; and what is not one
// is told.
func FuzzPort(f *testing.F) {
	for _, want := range []string{"", "admin", "80", "0", "65535", "65536", "-1", "+80", "8_0", "0x50", "\x00", "８０"} {
		f.Add(want, 80, "admin", 81)
	}
	f.Add("admin", 80, "admin", -1)
	f.Fuzz(func(t *testing.T, want string, own int, name string, named int) {
		s := &api.AgentService{
			Port: own, Ports: api.ServicePorts{{Name: name, Port: named}}, Meta: map[string]string{"usher-port": want},
		}
		port, problem := choosePort(s, 0)
		number, err := strconv.Atoi(want)
		isNumber := err == nil && number > 0 && number <= 65535 && strconv.Itoa(number) == trimZeros(want)
		switch {
		case want == "":
			if problem != "" || own != 0 && port != own {
				t.Errorf("nothing is asked for: port %d, %q", port, problem)
			}
		case want == name && named > 0:
			if problem != "" || port != named {
				t.Errorf("%q is port %d: port %d, %q", name, named, port, problem)
			}
		case isNumber:
			if problem != "" || port != number {
				t.Errorf("%q: port %d, %q", want, port, problem)
			}
		default:
			if problem == "" || own != 0 && port != own {
				t.Errorf("%q: port %d, %q", want, port, problem)
			}
		}
	})
}

func trimZeros(s string) string {
	for len(s) > 1 && s[0] == '0' {
		s = s[1:]
	}
	return s
}
