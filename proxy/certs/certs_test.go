package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/certs"
)

// TestChoice: by name, one label of a wildcard, and the default, whichever way the
// certificates are given.
func TestChoice(t *testing.T) {
	t.Parallel()
	s, ca := begin(t), newAuthority(t)
	s.pair("a", ca.issue("a.example", "www.a.example"))
	s.write("dir/wild.pem", ca.issue("*.example", "*.Deep.example").both())
	one := ca.issue("one.deep.example")
	s.write("dir/one.pem", one.cert)
	s.write("dir/one.key", one.key)
	s.write("dir/.hidden.pem", ca.issue("hidden.example").both())
	s.write("dir/README", []byte("not a certificate"))
	s.apply(config.ListenerTLS{
		Certificates:    []config.CertificateFile{{Cert: s.path("a.crt"), Key: s.path("a.key")}},
		CertificateDirs: []string{s.path("dir")},
	})
	address, _ := serve(t, s.Config("web"))
	for name, want := range map[string]string{
		"a.example": "a.example", "www.a.example": "a.example", "A.Example": "a.example",
		"b.example": "*.example", "one.deep.example": "one.deep.example", "two.deep.example": "*.example",
		"x.one.deep.example": "a.example", "example": "a.example", "": "a.example", "hidden.example": "*.example",
		"other.test": "a.example",
	} {
		if got := subject(address, name, nil); got != want {
			t.Errorf("%q: got %s, want %s", name, got, want)
		}
	}
	for standard, want := range map[string]string{
		"one": "one.deep.example", "www.a.example": "a.example", "x.example": "*.example", "nobody": "a.example",
	} {
		s.apply(config.ListenerTLS{
			Certificates:    []config.CertificateFile{{Cert: s.path("a.crt"), Key: s.path("a.key")}},
			CertificateDirs: []string{s.path("dir")}, DefaultCertificate: standard,
		})
		if got := subject(address, "", nil); got != want {
			t.Errorf("default %q: got %s, want %s", standard, got, want)
		}
	}
	if n := s.log.count("the default certificate is not there"); n != 1 {
		t.Errorf("told %d times:\n%s", n, s.log)
	}
}

// TestKinds: a client gets the kind of certificate it can use; of two of a kind the one
// that ends last, and none that has ended while there is another.
func TestKinds(t *testing.T) {
	t.Parallel()
	s, ca := begin(t), newAuthority(t)
	soon, late := time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	s.write("1.pem", ca.grant(wish{names: []string{"rsa", "a.example"}, rsa: true, end: late}).both())
	s.write("2.pem", ca.grant(wish{names: []string{"ec-soon", "a.example"}, end: soon}).both())
	s.write("3.pem", ca.grant(wish{names: []string{"ec-late", "a.example"}, end: late}).both())
	s.write("4.pem", ca.grant(wish{names: []string{"ec-wild", "*.example"}}).both())
	s.write("5.pem", ca.grant(wish{names: []string{"ended", "b.example"}, end: time.Now().Add(-time.Minute)}).both())
	s.write("6.pem", ca.grant(wish{names: []string{"good", "b.example"}, rsa: true}).both())
	s.write("7.pem", ca.grant(wish{names: []string{"alone", "c.test"}, end: time.Now().Add(-time.Minute)}).both())
	s.write("8.pem", ca.grant(wish{names: []string{"d.example"}, rsa: true}).both())
	s.apply(s.folder())
	address, _ := serve(t, s.Config("web"))
	rsaOnly := &tls.Config{
		MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
	}
	ecOnly := &tls.Config{
		MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	}
	for _, tc := range []struct {
		name string
		conf *tls.Config
		want string
	}{
		{"a.example", nil, "ec-late"},
		{"a.example", ecOnly, "ec-late"},
		{"a.example", rsaOnly, "rsa"},
		{"b.example", nil, "good"},
		{"c.test", nil, "alone"},
		{"d.example", nil, "d.example"},
		{"d.example", ecOnly, "ec-wild"},
		{"", nil, "rsa"},
	} {
		if got := subject(address, tc.name, tc.conf); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
	if s.log.count("which has ended") != 2 {
		t.Errorf("not told that certificates have ended:\n%s", s.log)
	}
}

// The default has a twin with another kind of key, for clients that cannot use the first.
func TestDefaultTwin(t *testing.T) {
	t.Parallel()
	s, ca := begin(t), newAuthority(t)
	s.write("a-ec.pem", ca.issue("a.example").both())
	s.write("a-rsa.pem", ca.grant(wish{names: []string{"a.example"}, rsa: true}).both())
	s.apply(s.folder())
	address, _ := serve(t, s.Config("web"))
	rsaOnly := &tls.Config{
		MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
	}
	for _, conf := range []*tls.Config{nil, rsaOnly} {
		for _, name := range []string{"", "unknown.test"} {
			if got := subject(address, name, conf); got != "a.example" {
				t.Errorf("%q: got %s", name, got)
			}
		}
	}
}

// TestRefusedAlone: whatever is wrong with one certificate is told once, and the others are
// served; a bad change leaves the last good version.
func TestRefusedAlone(t *testing.T) {
	t.Parallel()
	s, ca := begin(t), newAuthority(t)
	good, other := ca.issue("good.example"), ca.issue("other.example")
	s.pair("good", good)
	s.write("junk.pem", []byte("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"))
	s.write("mismatch.crt", good.cert)
	s.write("mismatch.key", other.key)
	s.write("chain.crt", good.cert)
	s.write("lonely.key", good.key)
	s.write("empty.pem", nil)
	if err := os.Symlink(s.path("nowhere"), s.path("dangling.pem")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.path("folder.pem"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.apply(config.ListenerTLS{
		CertificateDirs: []string{s.dir, s.path("missing")},
		Certificates:    []config.CertificateFile{{Cert: s.path("absent.crt")}},
	})
	address, _ := serve(t, s.Config("web"))
	if got := subject(address, "good.example", nil); got != "good.example" {
		t.Errorf("got %s", got)
	}
	for _, name := range []string{
		"junk.pem", "mismatch.crt", "chain.crt", "lonely.key", "empty.pem", "dangling.pem", "folder.pem", "absent.crt",
	} {
		if s.log.count("certificate refused") == 0 || s.log.count("cert="+s.path(name)) != 1 {
			t.Errorf("%s: told %d times", name, s.log.count("cert="+s.path(name)))
		}
	}
	if got, want := s.refused(), 9.0; got != want { // and the folder that is missing
		t.Errorf("%v refused, want %v\n%s", got, want, s.log)
	}
	// The key changes alone: the last good version stays, and the others may change.
	s.write("good.key", other.key)
	eventually(t, "the change is refused", func() bool { return s.refused() == 10 })
	if got := subject(address, "good.example", nil); got != "good.example" {
		t.Errorf("after a bad change: got %s", got)
	}
	s.write("missing/new.pem", ca.issue("new.example").both())
	eventually(t, "a folder that comes is read", func() bool {
		return subject(address, "new.example", nil) == "new.example"
	})
	s.pair("good", ca.issue("good.example", "better.example"))
	s.write("junk.pem", ca.issue("junk.example").both())
	eventually(t, "what becomes good is served", func() bool {
		return subject(address, "junk.example", nil) == "junk.example" &&
			subject(address, "better.example", nil) == "good.example"
	})
	if got := s.refused(); got != 7 {
		t.Errorf("%v refused in the end, want 7\n%s", got, s.log)
	}
}

// A certificate whose files are gone goes, one that the configuration names stays.
func TestRemoved(t *testing.T) {
	t.Parallel()
	s, ca := begin(t), newAuthority(t)
	s.pair("named/a", ca.issue("a.example"))
	s.pair("dir/b", ca.issue("b.example"))
	s.pair("dir/c", ca.issue("c.example"))
	s.apply(config.ListenerTLS{
		Certificates:    []config.CertificateFile{{Cert: s.path("named/a.crt"), Key: s.path("named/a.key")}},
		CertificateDirs: []string{s.path("dir")},
	})
	address, _ := serve(t, s.Config("web"))
	for _, name := range []string{"named/a.crt", "named/a.key", "dir/b.crt", "dir/b.key", "dir/c.key"} {
		if err := os.Remove(s.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "b is gone", func() bool { return subject(address, "b.example", nil) == "a.example" })
	eventually(t, "the others are refused", func() bool { return s.refused() == 2 })
	if got := subject(address, "c.example", nil); got != "c.example" {
		t.Errorf("half of a pair: got %s", got)
	}
	// A folder that cannot be read says nothing.
	if err := os.RemoveAll(s.path("dir")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the folder is missed", func() bool { return s.log.count("certificates cannot be read") == 1 })
	if got := subject(address, "c.example", nil); got != "c.example" {
		t.Errorf("without the folder: got %s", got)
	}
}

// Kubernetes swaps a link to a folder; certbot links to files elsewhere.
func TestLinks(t *testing.T) {
	t.Parallel()
	s, ca := begin(t), newAuthority(t)
	link := func(target, at string) {
		t.Helper()
		if err := os.Symlink(target, s.path(at+".tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(s.path(at+".tmp"), s.path(at)); err != nil {
			t.Fatal(err)
		}
	}
	s.pair("secret/..1/tls", ca.issue("one.example"))
	s.pair("secret/..2/tls", ca.issue("two.example"))
	link("..1", "secret/..data")
	link("..data/tls.crt", "secret/tls.crt")
	link("..data/tls.key", "secret/tls.key")
	s.pair("archive/1", ca.issue("three.test"))
	s.pair("archive/2", ca.issue("four.test"))
	s.write("live/README", nil)
	link("../archive/1.crt", "live/fullchain.pem")
	link("../archive/1.key", "live/privkey.pem")
	live := config.CertificateFile{Cert: s.path("live/fullchain.pem"), Key: s.path("live/privkey.pem")}
	s.apply(config.ListenerTLS{
		CertificateDirs: []string{s.path("secret")}, Certificates: []config.CertificateFile{live},
	})
	address, _ := serve(t, s.Config("web"))
	if got := subject(address, "one.example", nil); got != "one.example" {
		t.Fatalf("got %s\n%s", got, s.log)
	}
	link("..2", "secret/..data")
	eventually(t, "the swap is seen", func() bool { return subject(address, "two.example", nil) == "two.example" })
	link("../archive/2.key", "live/privkey.pem")
	link("../archive/2.crt", "live/fullchain.pem")
	eventually(t, "the new links are seen", func() bool { return subject(address, "four.test", nil) == "four.test" })
}

func TestSelfSigned(t *testing.T) {
	t.Parallel()
	s, ca := begin(t), newAuthority(t)
	s.apply(config.ListenerTLS{SelfSigned: true})
	address, _ := serve(t, s.Config("web"))
	shown := func(name string) *x509.Certificate {
		t.Helper()
		state, err := dial(address, &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		return state.PeerCertificates[0]
	}
	for _, host := range []string{"localhost", "127.0.0.1", "::1"} {
		if err := shown("").VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	for _, host := range []string{"localhost", "some.example", "Other.Example"} {
		if err := shown(host).VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	if a, b := shown("some.example"), shown("some.example"); !a.Equal(b) {
		t.Error("made anew each time")
	}
	// Real certificates go first, and are the default.
	s.pair("a", ca.issue("a.example"))
	both := s.folder()
	both.SelfSigned = true
	s.apply(both)
	if got := subject(address, "a.example", nil); got != "a.example" {
		t.Errorf("got %s", got)
	}
	if got := subject(address, "", nil); got != "a.example" {
		t.Errorf("without a name: got %s", got)
	}
	if err := shown("some.example").VerifyHostname("some.example"); err != nil {
		t.Error(err)
	}
}

// TestUse: another finder is asked after the sources and before the default; the
// challenges of ACME are for it alone.
func TestUse(t *testing.T) {
	t.Parallel()
	s, ca := begin(t), newAuthority(t)
	s.pair("a", ca.issue("a.example"))
	settings := s.folder()
	settings.ACME = true
	s.apply(settings)
	found := func(i issued) *tls.Certificate {
		t.Helper()
		c, err := tls.X509KeyPair(i.cert, i.key)
		if err != nil {
			t.Fatal(err)
		}
		return &c
	}
	managed, proof := found(ca.issue("managed.example")), found(ca.issue("proof"))
	errNone := errors.New("not managed")
	s.Use(func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		switch {
		case len(h.SupportedProtos) == 1 && h.SupportedProtos[0] == "acme-tls/1" && h.ServerName == "a.example":
			return proof, nil
		case h.ServerName == "managed.example":
			return managed, nil
		}
		return nil, errNone
	})
	conf := s.Config("web")
	conf.NextProtos = []string{"http/1.1", "acme-tls/1"}
	address, failed := serve(t, conf)
	acme := &tls.Config{NextProtos: []string{"acme-tls/1"}}
	for _, tc := range []struct {
		name string
		conf *tls.Config
		want string
	}{
		{"managed.example", nil, "managed.example"},
		{"a.example", nil, "a.example"},
		{"other.example", nil, "a.example"},
		{"a.example", acme, "proof"},
		{"a.example", &tls.Config{NextProtos: []string{"http/1.1", "acme-tls/1"}}, "a.example"},
	} {
		if got := subject(address, tc.name, tc.conf); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
	if got := subject(address, "b.example", acme); got == "a.example" {
		t.Error("a challenge that nobody knows is met with the default")
	}
	if err := <-failed; !errors.Is(err, errNone) {
		t.Errorf("got %v", err)
	}
	settings.ACME = false
	s.apply(settings)
	if got := subject(address, "managed.example", nil); got != "a.example" {
		t.Errorf("a listener that does not ask for it has what others find: %s", got)
	}
	settings.ACME = true
	s.apply(settings)
	s.Use(nil)
	if got := subject(address, "managed.example", nil); got != "a.example" {
		t.Errorf("got %s", got)
	}
}

// TestProofWithoutCertificate: an authority of ACME shows no certificate where clients must.
// What it has begun is of no use to anybody else.
func TestProofWithoutCertificate(t *testing.T) {
	t.Parallel()
	s, ca := begin(t), newAuthority(t)
	s.pair("a", ca.issue("a.example"))
	settings := s.clientAuth("required", newAuthority(t))
	settings.ACME = true
	s.apply(settings)
	pair := ca.issue("proof")
	proof, err := tls.X509KeyPair(pair.cert, pair.key)
	if err != nil {
		t.Fatal(err)
	}
	s.Use(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &proof, nil })
	conf := s.Config("web")
	conf.NextProtos = []string{"http/1.1", "acme-tls/1"}
	address, _ := serve(t, conf)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := &tls.Config{
			ServerName: "a.example", InsecureSkipVerify: true, MaxVersion: version,
			NextProtos: []string{"acme-tls/1"}, ClientSessionCache: tls.NewLRUClientSessionCache(1),
		}
		state, err := dial(address, client)
		if err != nil || state.NegotiatedProtocol != "acme-tls/1" {
			t.Errorf("%x: the authority got %q, %v", version, state.NegotiatedProtocol, err)
		}
		for _, speaks := range [][]string{{"http/1.1"}, {"http/1.1", "acme-tls/1"}, nil} {
			client.NextProtos = speaks
			if _, err := dial(address, client); err == nil {
				t.Errorf("%x: a client that speaks %q is let in without a certificate", version, speaks)
			}
		}
	}
}

// TestDefaults: what clients can agree on.
func TestDefaults(t *testing.T) {
	t.Parallel()
	s := begin(t)
	for name, version := range map[string]string{"web": "", "strict": "1.3"} {
		s.Apply([]config.Listener{
			{Name: name, Protocol: "https", TLS: config.ListenerTLS{SelfSigned: true, MinVersion: version}},
			{Name: "plain", Protocol: "http"},
		}, certs.KV{})
		conf := s.Config(name)
		if !conf.DynamicRecordSizingDisabled || s.Config("plain") != nil || s.Config("nobody") != nil {
			t.Error("the wrong configurations")
		}
		address, _ := serve(t, conf)
		try := func(c *tls.Config) (tls.ConnectionState, bool) {
			c.InsecureSkipVerify = true
			state, err := dial(address, c)
			return state, err == nil
		}
		state, ok := try(&tls.Config{})
		if !ok || state.CurveID != tls.X25519MLKEM768 || state.Version != tls.VersionTLS13 {
			t.Errorf("%s: curve %v, version %x, %t", name, state.CurveID, state.Version, ok)
		}
		if _, ok := try(&tls.Config{MaxVersion: tls.VersionTLS12}); ok == (name == "strict") {
			t.Errorf("%s: TLS 1.2: %t", name, ok)
		}
		if _, ok := try(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); ok {
			t.Errorf("%s: TLS 1.1", name)
		}
		weak := []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,
			tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
		}
		if _, ok := try(&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: weak}); ok {
			t.Errorf("%s: a weak cipher suite", name)
		}
		for _, curve := range []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384} {
			if state, ok := try(&tls.Config{CurvePreferences: []tls.CurveID{curve}}); !ok || state.CurveID != curve {
				t.Errorf("%s: not with %v", name, curve)
			}
		}
	}
}

// A listener without any certificate fails handshakes, and nothing else.
func TestNoCertificate(t *testing.T) {
	t.Parallel()
	s, ca := begin(t), newAuthority(t)
	s.apply(s.folder())
	address, failed := serve(t, s.Config("web"))
	if got := subject(address, "a.example", nil); got == "a.example" {
		t.Error("got a certificate")
	}
	if err := <-failed; !errors.Is(err, certs.ErrNoCertificate) {
		t.Errorf("got %v", err)
	}
	s.pair("a", ca.issue("a.example"))
	eventually(t, "it comes", func() bool { return subject(address, "a.example", nil) == "a.example" })
}

// An Apply that is taken back has changed nothing: not the last good version of what is bad
// by now, and not what configurations of before see.
func TestTakenBack(t *testing.T) {
	t.Parallel()
	s, ca := begin(t), newAuthority(t)
	s.pair("a", ca.issue("a.example"))
	s.apply(s.folder())
	address, _ := serve(t, s.Config("web"))
	s.write("a.key", []byte("nonsense"))
	eventually(t, "it is refused", func() bool { return s.refused() == 1 })
	s.Apply([]config.Listener{{Name: "other", Protocol: "https"}}, certs.KV{})
	if s.Config("web") != nil || s.Config("other") == nil {
		t.Error("the wrong configurations")
	}
	if got := subject(address, "a.example", nil); got != "a.example" {
		t.Errorf("meanwhile: got %s", got)
	}
	s.apply(s.folder())
	if got := subject(address, "a.example", nil); got != "a.example" || s.refused() != 1 {
		t.Errorf("taken back: got %s, %v refused", got, s.refused())
	}
	s.pair("a", ca.issue("b.example"))
	eventually(t, "a change is seen", func() bool { return subject(address, "b.example", nil) == "b.example" })
}
