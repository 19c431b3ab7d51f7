package acme_test

import (
	"testing"

	"usher/config"
	"usher/proxy/acme"
	"usher/proxy/acme/acmetest"
)

// TestIssue: a certificate is obtained by each challenge, kept, and used again after a
// restart without asking anybody.
func TestIssue(t *testing.T) {
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
