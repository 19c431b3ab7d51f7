package upstream_test

import (
	"testing"

	"usher/proxy/proxytest"
)

// What the pools count is among the proxy's metrics.
func TestProxyMetrics(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, tr *transport) {
		p := tr.policy()
		p.MaxConnections = 1
		u := proxytest.Start(t, proxytest.Options{Policy: p, Services: proxytest.Origins(tr.ok(t).Addr)})
		c := u.Dial()
		for range 3 {
			c.Send(request)
			c.OK("GET", "ok")
		}
		u.Quiet()
		got := samples(t, u.Metrics.Downstream)
		for name, want := range map[string]float64{
			`usher_upstream_connections{service="origin",state="idle"}`:   1,
			`usher_upstream_connections{service="origin",state="active"}`: 0,
			`usher_upstream_connect_duration_seconds{service="origin"}`:   1,
		} {
			if v, there := got[name]; !there || v != want {
				t.Errorf("%s is %v (there: %t), want %v", name, v, there, want)
			}
		}
	})
}
