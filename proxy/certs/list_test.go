package certs_test

import (
	"crypto/tls"
	"slices"
	"testing"

	"usher/config"
	"usher/proxy/certs"
)

// What is listed is what is shown, with the last good version of what is refused.
func TestCertificates(t *testing.T) {
	t.Parallel()
	s := begin(t)
	ca := newAuthority(t)
	s.pair("good", ca.issue("good.test", "*.good.test"))
	s.pair("late", ca.issue("late.test"))
	s.write("bad.crt", []byte("none"))
	s.write("bad.key", []byte("none"))
	settings := s.folder()
	settings.SelfSigned = true
	s.Apply([]config.Listener{
		{Name: "web", Protocol: "https", TLS: settings},
		{Name: "also", Protocol: "https", TLS: s.folder()},
		{Name: "plain", Protocol: "http", TLS: settings},
	}, certs.KV{})
	made := s.Config("web")
	if _, err := made.GetCertificate(&tls.ClientHelloInfo{ServerName: "made.test"}); err != nil {
		t.Fatal(err)
	}
	s.write("late.crt", []byte("none"))
	eventually(t, "the new version is refused", func() bool { return s.log.count("certificate refused") == 2 })
	list := s.Certificates()
	of := func(origin string) certs.Certificate {
		t.Helper()
		i := slices.IndexFunc(list, func(c certs.Certificate) bool { return c.Origin == origin })
		if i < 0 {
			t.Fatalf("nothing of %s: %+v", origin, list)
		}
		return list[i]
	}
	both := []string{"also", "web"}
	good := of(s.path("good.crt"))
	if !slices.Equal(good.Names, []string{"good.test", "*.good.test"}) || !slices.Equal(good.Listeners, both) ||
		good.Leaf == nil || good.Problem != "" {
		t.Errorf("good: %+v", good)
	}
	if late := of(s.path("late.crt")); !slices.Equal(late.Names, []string{"late.test"}) || late.Problem == "" {
		t.Errorf("late: %+v", late)
	}
	if bad := of(s.path("bad.crt")); bad.Leaf != nil || bad.Names != nil || bad.Problem == "" {
		t.Errorf("bad: %+v", bad)
	}
	if made := of(certs.SelfSigned); !slices.Equal(made.Names, []string{"made.test"}) ||
		!slices.Equal(made.Listeners, []string{"web"}) {
		t.Errorf("made: %+v", made)
	}
	if len(list) != 4 {
		t.Errorf("%d certificates: %+v", len(list), list)
	}
}
