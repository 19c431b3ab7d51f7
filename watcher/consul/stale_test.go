package consul

import (
	"strings"
	"testing"
	"time"

	"usher/watcher"
	"usher/watcher/consul/consultest"
)

// TestStale: any server may answer. An answer that is too far behind the leader is
// asked for again, of the leader, and is better than none.
func TestStale(t *testing.T) {
	t.Parallel()
	behind := map[string]string{"X-Consul-LastContact": "30001"}
	lists := func(port string, header map[string]string) answer {
		return answer{index: 10, body: at(port), header: header}
	}
	for name, test := range map[string]struct {
		any, leader answer
		// want is the port of the answer that is taken.
		want string
		// again says that the leader was asked.
		again bool
	}{
		"fresh": {
			lists("81", map[string]string{"X-Consul-LastContact": "30000"}), lists("82", nil), "81", false,
		},
		"behind":                {lists("81", behind), lists("82", nil), "82", true},
		"behind, and no leader": {lists("81", behind), answer{status: 500, body: "No cluster leader"}, "81", true},
		"behind, and a leader that is frozen": {
			lists("81", behind), answer{hang: true}, "81", true,
		},
		"streaming does not tell": {
			lists("81", map[string]string{"X-Consul-LastContact": "30001", "X-Consul-Query-Backend": "streaming"}),
			lists("82", nil), "81", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, map[string]answer{
				leader:          {body: `"127.0.0.1:8300"`},
				listPath:        {index: 10, body: `{"web": ["urlprefix-/"]}`},
				webPath:         {hang: true},
				webPath + stale: test.any,
				webPath + plain: test.leader,
			})
			c := conf(f.addr)
			c.MaxStale = 30 * time.Second
			b := follow(t, c)
			b.await("web", "is as it should be", func(in watcher.Instance) bool {
				return strings.HasSuffix(in.Address, ":"+test.want)
			})
			asked := f.count(webPath+stale) != 1
			consultest.Eventually(t, "it is waited for a change", func() bool { return f.count(webPath) >= 2 })
			if again := f.count(webPath) > 2; again && !test.again || asked {
				t.Errorf("asked %d times, %d times of any server", f.count(webPath), f.count(webPath+stale))
			}
		})
	}
}

// TestOnlyTheLeader: without a bound on the age of an answer no other server is asked.
func TestOnlyTheLeader(t *testing.T) {
	t.Parallel()
	f := webFake(t)
	f.set(webPath+stale, answer{index: 10, body: "[]"})
	f.set(listPath+stale, answer{index: 10, body: "{}"})
	b := follow(t, conf(f.addr))
	b.awaitThere("web")
	b.awaitSynced()
	if f.count(webPath+stale)+f.count(listPath+stale)+f.count(metaPath+stale) > 0 {
		t.Error("any server was asked")
	}
}

// TestLeaderReadsItsLog: a new leader answers while it still reads its log, with less
// than there is and a lower index. It is asked again in a way that makes it wait for
// the rest.
func TestLeaderReadsItsLog(t *testing.T) {
	t.Parallel()
	for name, early := range map[string]answer{
		"nothing yet":    {index: 4, body: "[]"},
		"an older state": {index: 7, body: at("79")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := webFake(t)
			b := follow(t, conf(f.addr))
			b.awaitThere("web")
			away := answer{status: 500, body: "No cluster leader"}
			f.set(webPath+sure, away)
			f.set(webPath+plain, early)
			f.set(webPath, away)
			asked := f.count(webPath)
			consultest.Eventually(t, "it is asked again", func() bool { return f.count(webPath) > asked+4 })
			if in := b.of("web"); len(in) != 1 || in[0].Address != "127.0.0.1:80" {
				t.Errorf("web is now %+v", in)
			}
			f.set(webPath+sure, answer{index: 12, body: at("81")})
			f.set(webPath, answer{hang: true})
			b.await("web", "is as the log says", func(in watcher.Instance) bool { return in.Address == "127.0.0.1:81" })
			b.neverGone("web")
		})
	}
}

// TestBehindWhatIsKnown: a server that tells less than is known already, because it has
// just started and still reads its log, is not believed unless the leader says the same.
func TestBehindWhatIsKnown(t *testing.T) {
	t.Parallel()
	f := webFake(t)
	c := conf(f.addr)
	c.MaxStale, c.MaxWatches = 30*time.Second, 0
	b := follow(t, c)
	b.awaitThere("web")
	// No failure before, and not older than an answer may be.
	earlier := answer{index: 7, body: at("79")}
	f.becomes(earlier, answer{status: 500, body: "No cluster leader"})
	b.eventually("the failure", func() bool { return b.errs["http_500"] > 0 })
	if in := b.of("web"); len(in) != 1 || in[0].Address != "127.0.0.1:80" {
		t.Errorf("web is now %+v", in)
	}
	f.becomes(earlier, earlier)
	b.await("web", "is as the leader says", func(in watcher.Instance) bool { return in.Address == "127.0.0.1:79" })
}

// TestStartInTrouble: a Registry that starts together with its Consul knows no index to
// compare with. After a failure it asks in a way that makes a leader read its log.
func TestStartInTrouble(t *testing.T) {
	t.Parallel()
	f := webFake(t)
	f.set(webPath, answer{status: 500, body: "No cluster leader"})
	c := conf(f.addr)
	c.MaxStale = 30 * time.Second
	b := follow(t, c)
	b.eventually("the failure", func() bool { return b.errs["http_500"] > 0 })
	early := answer{index: 7, body: "[]"}
	f.set(webPath+sure, answer{index: 12, body: at("81")})
	f.set(webPath+plain, early)
	f.set(webPath+stale, early)
	f.set(webPath, answer{hang: true})
	b.await("web", "is as the log says", func(in watcher.Instance) bool { return in.Address == "127.0.0.1:81" })
	b.neverGone("web")
}
