package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"usher/config"
	"usher/proxy/proxytest"
	"usher/routetable"
	"usher/routetable/balance"
	"usher/watcher"
)

// remembering is a usher that remembers, whose table has routes of the configuration.
func remembering(t *testing.T, n int, origin string, routes ...config.Route) *proxytest.Usher {
	t.Helper()
	u := proxytest.Start(t, proxytest.Options{Listeners: []config.Listener{{H2C: true}}})
	s := &watcher.Service{Key: watcher.Key{Registry: "test", Service: "origin"}, Instances: []watcher.Instance{{
		ID: "o", Address: origin, Weight: 1,
		Announcements: []watcher.Announcement{{Where: "t", Text: "plain.test/"}},
	}}}
	policy := config.Policy{Balance: "round_robin", ConnectTimeout: proxytest.Patience, Timeout: proxytest.Patience}
	table := routetable.Build(watcher.NewCatalog(7, s), &routetable.Rules{
		Routes: routes, Defaults: policy, Balancers: balance.All(),
	}, u.Proxy.Table())
	u.Health.Adopt(table)
	u.Proxy.Publish(table)
	u.Proxy.Remember(n)
	return u
}

// A remembered request is as it was matched, whatever became of its head, without secrets,
// and says where it went.
func TestRequestsAreRemembered(t *testing.T) {
	t.Parallel()
	origin := proxytest.Answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	u := remembering(t, 64, origin.Addr, config.Route{
		Name: "beta", Service: "origin",
		Match: config.Match{
			Hosts: []string{"beta.test"}, Headers: map[string]string{"X-Beta": "1"},
			HeadersRegex: map[string]string{"Authorization": "."},
		},
		RequestHeaders: config.HeaderEdits{Remove: []string{"X-Beta"}},
	}, config.Route{
		Name: "answer", Match: config.Match{Hosts: []string{"answer.test"}}, Respond: &config.Respond{Status: 204},
	})
	for _, host := range []string{"plain.test", "beta.test", "nowhere.test", "answer.test"} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+u.Addr()+"/a?token=s3cret&b=1", nil)
		req.Host = host
		req.Header.Set("X-Beta", "1")
		req.Header.Set("Authorization", "Bearer s3cret")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	var got []string
	proxytest.Eventually(t, "4 requests are remembered", func() bool {
		got = got[:0]
		for _, s := range u.Proxy.Requests() {
			got = append(got, fmt.Sprintf("%s %s %s%s %v %s/%s %d %s of %d", s.Listener, s.Method, s.Host, s.Target,
				s.Headers, s.Route, s.Service, s.Status, s.Reason, s.Generation))
		}
		return len(got) == 4
	})
	headers := "map[Authorization:REDACTED X-Beta:1]"
	for i, want := range []string{
		"web PUT plain.test/a?token=REDACTED&b=1 " + headers + " plain.test//origin 200  of 7",
		"web PUT beta.test/a?token=REDACTED&b=1 " + headers + " beta/origin 200  of 7",
		"web PUT nowhere.test/a?token=REDACTED&b=1 " + headers + " / 404 no_route of 7",
		"web PUT answer.test/a?token=REDACTED&b=1 " + headers + " answer/ 204  of 7",
	} {
		if got[i] != want {
			t.Errorf("got  %s\nwant %s", got[i], want)
		}
	}
	u.Proxy.Remember(0)
	if left := u.Proxy.Requests(); len(left) > 0 {
		t.Errorf("%d requests are remembered though none should be", len(left))
	}
}

// Remembering costs a request that is not taken no allocation from end to end.
func TestRememberingAllocatesNothing(t *testing.T) {
	if proxytest.Race {
		t.Skip("the race detector allocates by itself")
	}
	tc := paths[0]
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(steady(t, tc.body, tc.answer))})
	u.Proxy.Remember(16)
	x := newExchange(t, u.Addr(), tc.request)
	if per := mallocs(t, x, 4000); per >= 0.05 {
		t.Errorf("%.3f allocations a request", per)
	}
	if n := len(u.Proxy.Requests()); n == 0 {
		t.Error("nothing was remembered")
	}
}
