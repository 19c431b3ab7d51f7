package acme_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/acme"
	"usher/proxy/acme/acmetest"
	"usher/watcher/consul"
	"usher/watcher/consul/consultest"
)

// sharedBy returns the Store in an agent's key-value store, as one usher uses it.
func sharedBy(t *testing.T, agent *consultest.Agent) acme.Store {
	t.Helper()
	kv, err := consul.NewKV(config.Consul{Address: agent.Addr()}, "usher-acme/", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kv.Close)
	return acme.Shared(kv)
}

// TestFleetOrdersOnce: of several ushers that begin at once one orders, another one is
// asked by the authority, and all serve the same certificate.
func TestFleetOrdersOnce(t *testing.T) {
	t.Parallel()
	for _, challenge := range []string{config.ChallengeHTTP01, config.ChallengeTLSALPN01} {
		t.Run(challenge, func(t *testing.T) {
			agent := consultest.Start(t)
			answers := setup{http: acmetest.FreePort(t), tls: acmetest.FreePort(t)}
			ca := acmetest.Start(t, acmetest.Options{HTTPPort: answers.http, TLSPort: answers.tls})
			answers.ACME = section(ca, challenge)
			var fleet []*usher
			for i := range 3 {
				s := setup{ACME: answers.ACME, store: sharedBy(t, agent)}
				if i == 0 { // the authority reaches no other
					s.http, s.tls = answers.http, answers.tls
				}
				fleet = append(fleet, newUsher(t, s))
			}
			domains := []string{"a.example.com", "b.example.com", "c.example.com", "d.example.com"}
			for i := range fleet {
				fleet[len(fleet)-1-i].Manage(domains) // the one that answers begins last
			}
			obtained, serials := 0.0, map[string]string{}
			for _, u := range fleet {
				for _, d := range domains {
					serial := u.serves(ca, d)
					if other := serials[d]; other != "" && other != serial {
						t.Errorf("%s has two certificates", d)
					}
					serials[d] = serial
				}
				obtained += u.asked("obtained")
				if u.asked("failed") > 0 {
					t.Errorf("%v attempts failed", u.asked("failed"))
				}
			}
			if n := len(domains); ca.Orders() != n || obtained != float64(n) || ca.Accounts() != 1 {
				t.Errorf("%d names: %d orders, %v certificates, %d accounts", n, ca.Orders(), obtained, ca.Accounts())
			}
			for _, u := range fleet {
				u.Close()
			}
			leftBehind(t, agent)
		})
	}
}

// leftBehind complains of challenges, locks and sessions that nobody needs any more.
func leftBehind(t *testing.T, agent *consultest.Agent) {
	t.Helper()
	keys, _, err := agent.Client().KV().Keys("usher-acme/", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if !strings.HasPrefix(key, "usher-acme/certificates/") && !strings.HasPrefix(key, "usher-acme/accounts/") {
			t.Errorf("left behind: %s", key)
		}
	}
	if sessions, _, err := agent.Client().Session().List(nil); err != nil || len(sessions) > 0 {
		t.Errorf("left behind: %d sessions, %v", len(sessions), err)
	}
}

// TestFleetRenewsOnce: short-lived certificates are renewed, each time by one usher, and
// the others take over what it obtained.
func TestFleetRenewsOnce(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t)
	s := setup{http: acmetest.FreePort(t), every: 500 * time.Millisecond}
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: s.http, Validity: 15 * time.Second})
	s.ACME, s.store = section(ca, config.ChallengeHTTP01), sharedBy(t, agent)
	one := newUsher(t, s)
	s.http, s.store = 0, sharedBy(t, agent)
	two := newUsher(t, s)
	one.Manage([]string{name})
	two.Manage([]string{name})
	first := one.serves(ca, name)
	if got := two.serves(ca, name); got != first {
		t.Fatalf("two certificates: %s, %s", first, got)
	}
	for _, u := range []*usher{one, two} {
		eventually(t, "a renewed certificate", func() bool { return u.serves(ca, name) != first })
	}
	one.Close()
	two.Close()
	renewed := one.asked("renewed") + two.asked("renewed")
	if renewed < 1 || ca.Orders() != 1+int(renewed) || one.asked("failed")+two.asked("failed") > 0 {
		t.Errorf("%d orders, renewed %v, failed %v", ca.Orders(), renewed, one.asked("failed")+two.asked("failed"))
	}
	if ca.Replacements() != int(renewed) {
		t.Errorf("%d of %v renewals name what they replace", ca.Replacements(), renewed)
	}
}

// TestConsulAway: without the store certificates are served on, and when it is back what
// is new is obtained.
func TestConsulAway(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t)
	s := setup{http: acmetest.FreePort(t), every: 200 * time.Millisecond}
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: s.http})
	s.ACME, s.store = section(ca, config.ChallengeHTTP01), sharedBy(t, agent)
	u := newUsher(t, s)
	u.Manage([]string{name})
	first := u.serves(ca, name)
	agent.Kill()
	u.Manage([]string{name, "new.example.com"})
	u.waitLog("cannot be looked after")
	for range 10 {
		if got := u.serves(ca, name); got != first {
			t.Errorf("another certificate: %s", got)
		}
	}
	if _, ok := u.Challenge(name, "/.well-known/acme-challenge/x"); ok {
		t.Error("an unknown challenge was answered")
	}
	if u.asked("failed") > 0 || ca.Orders() != 1 {
		t.Errorf("failed %v, orders %d: an authority is not asked without the store", u.asked("failed"), ca.Orders())
	}
	agent.Restart()
	u.waitLog("is looked after again")
	u.serves(ca, "new.example.com")
	if got := u.serves(ca, name); got != first || ca.Orders() != 2 {
		t.Errorf("certificate %s, %d orders", got, ca.Orders())
	}
}
