package certs_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/certs"
)

// resumes says whether a second connection of a client resumes the session of a first.
func resumes(t *testing.T, first, second string, version uint16) bool {
	t.Helper()
	conf := &tls.Config{
		ServerName: "a.example", InsecureSkipVerify: true, MaxVersion: version,
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
	state, err := dial(first, conf)
	if err != nil {
		t.Fatal(err)
	}
	if state.DidResume {
		t.Error("the first connection resumed")
	}
	if state, err = dial(second, conf); err != nil {
		t.Fatal(err)
	}
	return state.DidResume
}

// Sessions go on over listeners, other certificates and new configurations of them.
func TestResumption(t *testing.T) {
	t.Parallel()
	s, ca := begin(t), newAuthority(t)
	s.pair("a", ca.issue("a.example"))
	both := func() {
		s.Apply([]config.Listener{
			{Name: "web", Protocol: "https", TLS: s.folder()}, {Name: "other", Protocol: "https", TLS: s.folder()},
		}, certs.KV{})
	}
	both()
	web, _ := serve(t, s.Config("web"))
	other, _ := serve(t, s.Config("other").Clone())
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		if !resumes(t, web, web, version) || !resumes(t, web, other, version) {
			t.Errorf("version %x: no resumption", version)
		}
	}
	// A reload in between, with a certificate that changes.
	cache := tls.NewLRUClientSessionCache(1)
	conf := &tls.Config{ServerName: "a.example", InsecureSkipVerify: true, ClientSessionCache: cache}
	if _, err := dial(web, conf); err != nil {
		t.Fatal(err)
	}
	s.pair("a", ca.issue("a.example"))
	s.Apply(nil, certs.KV{})
	both()
	reloaded, _ := serve(t, s.Config("web"))
	if state, err := dial(reloaded, conf); err != nil || !state.DidResume {
		t.Errorf("after a reload: resumed %t (%v)", state.DidResume, err)
	}
	// Another process has other keys.
	second := begin(t)
	second.dir = s.dir
	second.apply(second.folder())
	stranger, _ := serve(t, second.Config("web"))
	if resumes(t, web, stranger, 0) {
		t.Error("a ticket of another process was taken")
	}
}

// clientAuth is a listener that asks for certificates of an authority.
func (s *scene) clientAuth(mode string, ca *authority) config.ListenerTLS {
	c := s.folder()
	c.ClientAuth = config.ClientAuth{Mode: mode, CA: ca.pem()}
	return c
}

func TestClientAuth(t *testing.T) {
	t.Parallel()
	s, ca, clients, strangers := begin(t), newAuthority(t), newAuthority(t), newAuthority(t)
	s.pair("a", ca.issue("a.example"))
	shows := func(i issued) *tls.Config {
		c, err := tls.X509KeyPair(i.cert, i.key)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{
			ServerName: "a.example", RootCAs: ca.pool(),
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil },
		}
	}
	none := &tls.Config{ServerName: "a.example", RootCAs: ca.pool()}
	good, stranger := shows(clients.issue("client")), shows(strangers.issue("client"))
	ended := shows(clients.grant(wish{names: []string{"client"}, end: time.Now().Add(-time.Minute)}))
	for _, tc := range []struct {
		mode                      string
		none, good, stranger, end bool
	}{
		{"none", true, true, true, true},
		{"optional", true, true, false, false},
		{"required", false, true, false, false},
	} {
		s.apply(s.clientAuth(tc.mode, clients))
		address, failed := serve(t, s.Config("web"))
		for _, client := range []struct {
			who  string
			conf *tls.Config
			want bool
		}{
			{"without", none, tc.none},
			{"good", good, tc.good},
			{"stranger", stranger, tc.stranger},
			{"ended", ended, tc.end},
		} {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				conf := client.conf.Clone()
				conf.MaxVersion = version
				_, err := dial(address, conf)
				if (err == nil) != client.want {
					t.Errorf("%s, %s, %x: got %v", tc.mode, client.who, version, err)
				}
				if err != nil {
					if why := certs.Failure(<-failed).String(); why != "client_certificate" {
						t.Errorf("%s, %s: failed for %s", tc.mode, client.who, why)
					}
				}
			}
		}
	}
}

// A session without a certificate, or with one that is no longer trusted, is no way round
// the demand for one.
func TestClientAuthResumption(t *testing.T) {
	t.Parallel()
	s, ca, first, second := begin(t), newAuthority(t), newAuthority(t), newAuthority(t)
	s.pair("a", ca.issue("a.example"))
	pair := first.issue("client")
	shown, err := tls.X509KeyPair(pair.cert, pair.key)
	if err != nil {
		t.Fatal(err)
	}
	serving := func(mode string, of *authority) string {
		s.apply(s.clientAuth(mode, of))
		address, _ := serve(t, s.Config("web"))
		return address
	}
	open, asks, demands := serving("none", first), serving("optional", first), serving("required", first)
	trustsAnother := serving("required", second)
	for _, tc := range []struct {
		from, to string
		cert     bool
		ok       bool
		resumed  bool
	}{
		{open, demands, false, false, false},
		{asks, demands, false, false, false},
		{asks, demands, true, true, true},
		{demands, open, true, true, false},
		{demands, trustsAnother, true, false, false},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			conf := &tls.Config{
				ServerName: "a.example", RootCAs: ca.pool(), MaxVersion: version,
				ClientSessionCache: tls.NewLRUClientSessionCache(1),
			}
			if tc.cert {
				conf.Certificates = []tls.Certificate{shown}
			}
			if _, err := dial(tc.from, conf); err != nil {
				t.Fatal(err)
			}
			state, err := dial(tc.to, conf)
			if (err == nil) != tc.ok || err == nil && state.DidResume != tc.resumed {
				t.Errorf("%+v, %x: resumed %t (%v)", tc, version, state.DidResume, err)
			}
		}
	}
}

// TestSwap: certificates change while clients connect, some anew and some resuming, and
// none fails.
func TestSwap(t *testing.T) {
	t.Parallel()
	length := 3 * time.Second
	if testing.Short() {
		length = 500 * time.Millisecond
	}
	s, ca := begin(t), newAuthority(t)
	s.pair("a", ca.issue("a.example"))
	s.apply(s.folder())
	address, _ := serve(t, s.Config("web"))
	var done, resumed, failed atomic.Int64
	var seen sync.Map
	one := func(conf *tls.Config) {
		state, err := dial(address, conf)
		done.Add(1)
		if err != nil {
			failed.Add(1)
			t.Error(err)
			return
		}
		if state.DidResume {
			resumed.Add(1)
		}
		seen.Store(state.PeerCertificates[0].SerialNumber.String(), true)
	}
	full := &tls.Config{ServerName: "a.example", RootCAs: ca.pool()}
	again := full.Clone()
	again.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	var clients sync.WaitGroup
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	swap := time.NewTicker(300 * time.Millisecond)
	defer swap.Stop()
	end := time.After(length)
	room := make(chan struct{}, 64)
	swaps := 0
	for running := true; running; {
		select {
		case <-pace.C:
			conf := full
			if done.Load()%2 == 0 {
				conf = again
			}
			room <- struct{}{}
			clients.Go(func() {
				one(conf)
				<-room
			})
		case <-swap.C:
			swaps++
			s.pair("a", ca.issue("a.example"))
		case <-end:
			running = false
		}
	}
	clients.Wait()
	kinds := 0
	seen.Range(func(any, any) bool { kinds++; return true })
	t.Logf("%d handshakes in %s, %d resumed, %d failed; %d swaps, %d certificates seen",
		done.Load(), length, resumed.Load(), failed.Load(), swaps, kinds)
	if failed.Load() > 0 || resumed.Load() == 0 || kinds < 2 && !testing.Short() {
		t.Errorf("%d failed, %d resumed, %d certificates seen\n%s", failed.Load(), resumed.Load(), kinds, s.log)
	}
}

// TestFailure: each way to fail has its word.
func TestFailure(t *testing.T) {
	t.Parallel()
	s, ca := begin(t), newAuthority(t)
	s.pair("a", ca.issue("a.example"))
	s.apply(s.folder())
	address, failed := serve(t, s.Config("web"))
	expect := func(want string) {
		t.Helper()
		if err := <-failed; certs.Failure(err).String() != want {
			t.Errorf("got %s for %v, want %s", certs.Failure(err), err, want)
		}
	}
	raw := func(text string) {
		t.Helper()
		if err := speak(address, text); err != nil {
			t.Fatal(err)
		}
	}
	raw("")
	expect("closed")
	raw("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
	expect("not_tls")
	if _, err := dial(address, &tls.Config{ServerName: "a.example"}); err == nil {
		t.Error("an unknown authority was trusted")
	}
	expect("refused")
	old := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	if _, err := dial(address, old); err == nil {
		t.Error("TLS 1.1 was taken")
	}
	expect("protocol")
	none := fmt.Errorf("x: %w", errors.Join(certs.ErrNoCertificate))
	if got := certs.Failure(none).String(); got != "no_certificate" {
		t.Errorf("got %s", got)
	}
}
