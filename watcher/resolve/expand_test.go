package resolve

import (
	"fmt"
	"net/netip"
	"testing"

	"usher/watcher"
)

func TestHostName(t *testing.T) {
	for address, want := range map[string]string{
		"web.test:80": "web.test 80", "WEB.test.:0": "web.test. 0", "10.0.0.300:80": "10.0.0.300 80",
		"web:65535": "web 65535", "[web]:80": "web 80",
		"10.0.0.1:80": "", "[fd00::1]:80": "", "[fe80::1%eth0]:80": "", "[::ffff:10.0.0.1]:80": "",
		"": "", ":80": "", "web": "", "web:": "", "web:http": "", "web:65536": "", "web:-1": "", "unix:/run/web": "",
		"fd00::1": "",
	} {
		host, port, ok := hostName(address)
		got := ""
		if ok {
			got = host + " " + port
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", address, got, want)
		}
	}
}

// TestAddressesCostNothing: looking for names where there are none, which is what
// most registries hold, does not allocate.
func TestAddressesCostNothing(t *testing.T) {
	list := manyAt(100, "10.0.%d.%d:80")
	if n := testing.AllocsPerRun(100, func() { hostsOf(list) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func manyAt(n int, format string) (list []watcher.Instance) {
	for i := range n {
		list = append(list, watcher.Instance{ID: fmt.Sprint(i), Address: fmt.Sprintf(format, i/100, i%100)})
	}
	return list
}

func BenchmarkHostsOf(b *testing.B) {
	for name, format := range map[string]string{"addresses": "10.0.%d.%d:80", "names": "web-%d-%d.test:80"} {
		b.Run(name+"=1000", func(b *testing.B) {
			list := manyAt(1000, format)
			b.ReportAllocs()
			for b.Loop() {
				hostsOf(list)
			}
		})
	}
}

func BenchmarkExpand(b *testing.B) {
	list := manyAt(1000, "web-%d-%d.test:80")
	at := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}
	b.ReportAllocs()
	for b.Loop() {
		expand(list, func(string) []netip.Addr { return at })
	}
}
