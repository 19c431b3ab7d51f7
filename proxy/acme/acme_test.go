package acme_test

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/acme"
	"usher/proxy/acme/acmetest"
)

// TestIssue: a certificate is obtained by each challenge, kept, and used again after a
// restart without asking anybody.
func TestIssue(t *testing.T) {
	t.Parallel()
	for _, challenge := range []string{config.ChallengeHTTP01, config.ChallengeTLSALPN01} {
		t.Run(challenge, func(t *testing.T) {
			s := setup{store: acme.Files(t.TempDir()), http: acmetest.FreePort(t), tls: acmetest.FreePort(t)}
			ca := acmetest.Start(t, acmetest.Options{HTTPPort: s.http, TLSPort: s.tls})
			s.ACME = section(ca, challenge)
			u := newUsher(t, s)
			u.Manage([]string{name})
			serial := u.serves(ca, name)
			if u.asked("obtained") != 1 || u.asked("failed") != 0 || ca.Orders() != 1 {
				t.Errorf("obtained %v, failed %v, orders %d", u.asked("obtained"), u.asked("failed"), ca.Orders())
			}
			if _, err := u.shown(ca, "other.example.com"); err == nil {
				t.Error("another name has a certificate")
			}
			u.Close()
			s.http, s.tls = 0, 0
			again := newUsher(t, s)
			again.Manage([]string{name})
			if got := again.serves(ca, name); got != serial {
				t.Errorf("another certificate after a restart: %s, %s", got, serial)
			}
			if ca.Orders() != 1 || ca.Accounts() != 1 {
				t.Errorf("%d orders, %d accounts", ca.Orders(), ca.Accounts())
			}
		})
	}
}

// TestFailure: an authority that nobody answers is asked again, more and more rarely, and
// what it has against usher is told.
func TestFailure(t *testing.T) {
	t.Parallel()
	s := setup{store: acme.Files(t.TempDir())}
	port := acmetest.FreePort(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: port})
	s.ACME = section(ca, config.ChallengeHTTP01)
	u := newUsher(t, s)
	u.Manage([]string{name})
	eventually(t, "two failures", func() bool { return u.asked("failed") >= 2 })
	if !hasLine(u, "cannot be looked after", "connection refused", "served=false") {
		t.Error("the log does not tell the cause")
	}
	if _, err := u.shown(ca, name); err == nil {
		t.Error("there is a certificate")
	}
	u.answer(port)
	u.serves(ca, name)
	if u.asked("obtained") != 1 || !hasLine(u, "looked after again") {
		t.Errorf("obtained %v", u.asked("obtained"))
	}
}

// hasLine says whether a line of the log has all parts.
func hasLine(u *usher, parts ...string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.ContainsFunc(u.lines, func(line string) bool {
		return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) })
	})
}

// TestAuthorityAway: certificates are served on while their authority is away, and beyond
// their end.
func TestAuthorityAway(t *testing.T) {
	t.Parallel()
	s := setup{store: acme.Files(t.TempDir()), http: acmetest.FreePort(t), every: 200 * time.Millisecond}
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: s.http, Validity: 6 * time.Second})
	s.ACME = section(ca, config.ChallengeHTTP01)
	u := newUsher(t, s)
	u.Manage([]string{name})
	u.serves(ca, name)
	ca.Kill()
	eventually(t, "a failed renewal", func() bool { return hasLine(u, "cannot be looked after", "served=true") })
	eventually(t, "the certificate's end", func() bool { return time.Now().After(u.Certificates()[0].NotAfter) })
	if c, err := u.GetCertificate(&tls.ClientHelloInfo{ServerName: name}); err != nil || c == nil {
		t.Errorf("no certificate any more: %v", err)
	}
	if len(u.Certificates()) != 1 || u.Certificates()[0].Name != name {
		t.Errorf("certificates: %v", u.Certificates())
	}
}

// TestAuthoritySetUpAnew: an authority that has forgotten the account and all
// certificates gets a new account, and replaces what it does not know.
func TestAuthoritySetUpAnew(t *testing.T) {
	t.Parallel()
	s := setup{store: acme.Files(t.TempDir()), http: acmetest.FreePort(t), every: 200 * time.Millisecond}
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: s.http, Validity: 8 * time.Second})
	s.ACME = section(ca, config.ChallengeHTTP01)
	u := newUsher(t, s)
	u.Manage([]string{name})
	first := u.serves(ca, name)
	ca.Restart()
	eventually(t, "a certificate of the new authority", func() bool {
		c, err := u.shown(ca, name)
		return err == nil && c.Leaf.SerialNumber.String() != first
	})
	if u.asked("renewed") < 1 {
		t.Errorf("renewed %v", u.asked("renewed"))
	}
	u.Manage([]string{name, "new.example.com"})
	u.serves(ca, "new.example.com")
}

// TestNamesChange: a name that is taken out is served no more, and another Manager takes
// over what the last one had.
func TestNamesChange(t *testing.T) {
	t.Parallel()
	s := setup{store: acme.Files(t.TempDir()), http: acmetest.FreePort(t)}
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: s.http})
	s.ACME = section(ca, config.ChallengeHTTP01)
	u := newUsher(t, s)
	u.Manage([]string{name, "other.example.com"})
	first := u.serves(ca, name)
	u.serves(ca, "other.example.com")
	u.Manage([]string{name})
	if _, err := u.shown(ca, "other.example.com"); err == nil {
		t.Error("a name that was taken out is served")
	}
	ca.Kill() // nobody needs to be asked
	next := newUsher(t, setup{ACME: s.ACME, store: acme.Files(t.TempDir()), previous: u.Manager})
	if c := next.Certificates(); len(c) != 1 || c[0].TLS.Leaf.SerialNumber.String() != first {
		t.Errorf("taken over: %v", c)
	}
	loaded := newUsher(t, setup{ACME: s.ACME, store: s.store})
	loaded.Load(t.Context(), []string{name, "other.example.com", "third.example.com"})
	if c := loaded.Certificates(); len(c) != 2 {
		t.Errorf("loaded: %v", c)
	}
}

// TestHandshakeAllocatesNothing: looking up a certificate is a look into a map.
func TestHandshakeAllocatesNothing(t *testing.T) {
	u := newUsher(t, setup{ACME: config.ACME{CA: "https://127.0.0.1:1/dir"}, store: acme.Files(t.TempDir())})
	hello := &tls.ClientHelloInfo{ServerName: name, SupportedProtos: []string{"h2", "http/1.1"}}
	n := testing.AllocsPerRun(100, func() {
		if c, err := u.GetCertificate(hello); c != nil || err != nil {
			t.Errorf("got %v, %v", c, err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestRenewalReplacesWhatIsStored: an usher that renews what another one has renewed
// before tells the authority of that certificate, not of the one it serves itself.
func TestRenewalReplacesWhatIsStored(t *testing.T) {
	t.Parallel()
	s := setup{store: acme.Files(t.TempDir()), http: acmetest.FreePort(t), every: 100 * time.Millisecond}
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: s.http, Validity: 6 * time.Second})
	s.ACME = section(ca, config.ChallengeHTTP01)
	renews := newUsher(t, s)
	s.http, s.every = 0, time.Hour
	sleeps := newUsher(t, s)
	renews.Manage([]string{name})
	sleeps.Manage([]string{name})
	first := sleeps.serves(ca, name)
	eventually(t, "a renewal", func() bool { return renews.serves(ca, name) != first })
	renews.Close()
	due := renews.Certificates()[0].NotAfter.Add(-2 * time.Second)
	eventually(t, "the next renewal is due", func() bool { return time.Now().After(due) })
	s.previous = sleeps.Manager
	late := newUsher(t, s)
	renews.front.Proxy.Answer(late.Challenge)
	late.Manage([]string{name})
	eventually(t, "another renewal", func() bool { return late.asked("renewed") == 1 })
	if renewed := renews.asked("renewed") + sleeps.asked("renewed") + 1; ca.Replacements() != int(renewed) {
		t.Errorf("%d of %v renewals name what they replace", ca.Replacements(), renewed)
	}
}
