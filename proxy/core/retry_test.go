package core_test

import (
	"sync/atomic"
	"testing"

	"usher/proxy/proxytest"
)

// A retry for a status stays within the part of a split that was chosen first, though the
// other one would do.
func TestRetryStaysInTheArm(t *testing.T) {
	t.Parallel()
	var bad atomic.Int32
	fails := func() string {
		return proxytest.Raw(t, func(c *proxytest.Conn) {
			for {
				if req, _, _ := c.Request(); req == nil {
					return
				}
				bad.Add(1)
				c.Reply("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
			}
		}).Addr
	}
	s := begin(t)
	s.publish(loaded(t, `
defaults:
  balance: round_robin
  retry: {attempts: 2, on: [gateway_errors], budget: {share: 10}}
  outlier: {enabled: false}
routes:
  - {name: split, split: [{service: sick, weight: 50}, {service: well, weight: 50}]}
`, nil), map[string]string{
		"sick": fails() + "," + fails(), "well": proxytest.Answering(t, proxytest.OK).Addr,
	})
	c := s.Dial()
	got := map[int]int{}
	for range 200 {
		got[c.Get("/").StatusCode]++
	}
	if got[200]+got[503] != 200 || got[200] < 40 || got[503] < 40 {
		t.Errorf("got %v", got)
	}
	if n := int(bad.Load()); n != 2*got[503] {
		t.Errorf("%d tries for %d requests to the part that fails, want two each", n, got[503])
	}
}
