package certs_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"runtime"
	"testing"

	"usher/config"
	"usher/proxy/certs"
)

// sizes are numbers of certificates.
var sizes = []struct {
	name  string
	count int
}{{"1", 1}, {"100", 100}, {"10k", 10_000}}

// many returns n certificates as a key-value store would hold them, for host-i.example
// each. They share a key: making keys is not what is measured.
func many(b testing.TB, n int) map[string][]byte {
	b.Helper()
	ca, key := newAuthority(b), newKey(b, false)
	values := make(map[string][]byte, n)
	for i := range n {
		host := fmt.Sprintf("host-%d.example", i)
		values[host] = ca.grant(wish{names: []string{host}, key: key}).both()
	}
	return values
}

// holding returns a scene whose listener has what a store holds.
func holding(b testing.TB, values map[string][]byte) *scene {
	b.Helper()
	s := begin(b)
	s.Apply([]config.Listener{{
		Name: "web", Protocol: "https", TLS: config.ListenerTLS{CertificateKV: "certs/"},
	}}, storeOf(values))
	s.Wait(context.Background())
	return s
}

func storeOf(values map[string][]byte) certs.KV {
	return certs.KV{ID: "fixed", Watch: func(ctx context.Context, _ string, got func(map[string][]byte)) error {
		got(values)
		<-ctx.Done()
		return nil
	}}
}

// BenchmarkGetCertificate is the choice alone.
func BenchmarkGetCertificate(b *testing.B) {
	for _, size := range sizes {
		b.Run("certs="+size.name, func(b *testing.B) {
			conf := holding(b, many(b, size.count)).Config("web")
			hello := &tls.ClientHelloInfo{ServerName: fmt.Sprintf("host-%d.example", size.count/2)}
			b.ReportAllocs()
			for b.Loop() {
				if c, err := conf.GetCertificate(hello); err != nil || c == nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkHandshake is a whole handshake, client included, over loopback.
func BenchmarkHandshake(b *testing.B) {
	for _, size := range sizes {
		values := many(b, size.count)
		for _, resumed := range []bool{false, true} {
			b.Run(fmt.Sprintf("certs=%s/resumed=%t", size.name, resumed), func(b *testing.B) {
				s := holding(b, values)
				address, _ := serve(b, s.Config("web"))
				host := fmt.Sprintf("host-%d.example", size.count/2)
				client := &tls.Config{InsecureSkipVerify: true, ServerName: host}
				if resumed {
					client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				}
				b.ReportAllocs()
				for b.Loop() {
					if _, err := dial(address, client); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkLoad is the reading of all certificates at the start, and what they weigh.
func BenchmarkLoad(b *testing.B) {
	values := many(b, 10_000)
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		s := holding(b, values)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/10_000, "B/cert")
		s.Close()
	}
}

// The choice among certificates allocates nothing.
func TestChoiceAllocates(t *testing.T) {
	conf := holding(t, many(t, 10)).Config("web")
	hello := &tls.ClientHelloInfo{ServerName: "host-3.example"}
	if n := testing.AllocsPerRun(100, func() { _, _ = conf.GetCertificate(hello) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
