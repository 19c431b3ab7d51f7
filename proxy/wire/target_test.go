package wire_test

import (
	"bytes"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"usher/proxy/wire"
)

func TestParseTarget(t *testing.T) {
	for _, tc := range []struct {
		name, method, raw string
		origin, authority string
		asterisk, refused bool
	}{
		{"path", "GET", "/a/b?c", "/a/b?c", "", false, false},
		{"two slashes", "GET", "//evil/a", "//evil/a", "", false, false},
		{"asterisk", "OPTIONS", "*", "", "", true, false},
		{"absolute", "GET", "http://a/b?c", "/b?c", "a", false, false},
		{"https", "GET", "HTTPS://a:443/b", "/b", "a:443", false, false},
		{"no path", "GET", "http://a", "/", "a", false, false},
		{"address", "GET", "http://[::1]:80/", "/", "[::1]:80", false, false},
		{"URL in the query", "GET", "http://a/?u=http://b@c", "/?u=http://b@c", "a", false, false},
		{"asterisk for GET", "GET", "*", "", "", false, true},
		{"query without a path", "GET", "http://a?b", "", "", false, true},
		{"userinfo", "GET", "http://u@a/", "", "", false, true},
		{"empty authority", "GET", "http:///a", "", "", false, true},
		{"port alone", "GET", "http://:80/a", "", "", false, true},
		{"other scheme", "GET", "ws://a/", "", "", false, true},
		{"broken address", "GET", "http://[::1/", "", "", false, true},
		{"no scheme", "GET", "://a/", "", "", false, true},
		{"authority", "GET", "a:80", "", "", false, true},
		{"relative", "GET", "a/b", "", "", false, true},
		{"query", "GET", "?a", "", "", false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := wire.ParseTarget([]byte(tc.method), []byte(tc.raw))
			if (err != nil) != tc.refused {
				t.Fatalf("got %v", err)
			}
			if string(got.Origin) != tc.origin || string(got.Authority) != tc.authority || got.Asterisk != tc.asterisk {
				t.Errorf("got %q %q %v", got.Origin, got.Authority, got.Asterisk)
			}
		})
	}
}

// FuzzTarget holds that what goes upstream is a part of what came, byte for byte,
// that net/url sees the same authority, and that unescaping agrees with it.
func FuzzTarget(f *testing.F) {
	for _, raw := range []string{
		"/", "/a?b", "//evil/?u=http://z", "/api%2Fadmin/%41%zz?x=%23", "http://a/b", "https://[::1]:8080/?a",
		"http://u:p@a/", "http://a:b/", "*", "a:80", "http://a\\b/", "http://a%2fb/", "/%", "/%4", "/%41%4", "/%2541",
		"http://[", "http://[]/", "http://a]b/", "http://[::1]x/", "http://[::1%25a]/", "http://[1.2.3.4]:5/",
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		head := []byte("GET " + raw + " HTTP/1.1\r\nHost: a\r\n\r\n")
		h, err := scan(head)
		if err != nil || string(h.Target.Of(head)) != raw {
			return
		}
		got, err := wire.ParseTarget([]byte("GET"), []byte(raw))
		if err != nil {
			return
		}
		origin := string(got.Origin)
		if !strings.HasPrefix(origin, "/") || origin != "/" && !strings.HasSuffix(raw, origin) {
			t.Fatalf("%q became %q", raw, origin)
		}
		if raw[0] == '/' && (origin != raw || got.Authority != nil) {
			t.Fatalf("%q became %q at %q", raw, origin, got.Authority)
		}
		if host, _ := wire.SplitHost(got.Authority); bytes.ContainsAny(host, "[]") {
			ip, err := netip.ParseAddr(string(host[1 : len(host)-1]))
			if host[0] != '[' || host[len(host)-1] != ']' || err != nil || !ip.Is6() {
				t.Fatalf("%q: the authority is %q", raw, got.Authority)
			}
		}
		if u, err := url.ParseRequestURI(raw); err == nil && raw[0] != '/' && u.User == nil {
			if esc := strings.Contains(string(got.Authority), "%"); !esc && u.Host != string(got.Authority) {
				t.Fatalf("%q: net/url sees the authority %q, we %q", raw, u.Host, got.Authority)
			}
		}
		path := wire.Path(got.Origin)
		plain := wire.Unescape(nil, path)
		if want, err := url.PathUnescape(string(path)); err == nil && want != string(plain) {
			t.Fatalf("%q unescapes to %q, want %q", path, plain, want)
		}
		if len(plain) > len(path) || !bytes.Contains(path, []byte("%")) && !bytes.Equal(plain, path) {
			t.Fatalf("%q unescapes to %q", path, plain)
		}
	})
}

func TestUnescape(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := string(wire.Unescape([]byte(">"), []byte(in))); got != ">"+want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	f("", "")
	f("/a", "/a")
	f("%41", "A")
	f("%2f%2F", "//")
	f("%2541", "%41")
	f("%", "%")
	f("%4", "%4")
	f("%zz%41", "%zzA")
	f("%%41", "%A")
	f("%00", "\x00")
}

func TestSplitHost(t *testing.T) {
	f := func(host, name, port string) {
		t.Helper()
		if n, p := wire.SplitHost([]byte(host)); string(n) != name || string(p) != port {
			t.Errorf("%q: got %q %q, want %q %q", host, n, p, name, port)
		}
	}
	f("a", "a", "")
	f("a:80", "a", "80")
	f("a:", "a", "")
	f("[::1]", "[::1]", "")
	f("[::1]:80", "[::1]", "80")
	f("", "", "")
}

func TestTokens(t *testing.T) {
	f := func(list string, want ...string) {
		t.Helper()
		var got []string
		wire.Tokens([]byte(list), func(b []byte) { got = append(got, string(b)) })
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%q: got %q, want %q", list, got, want)
		}
	}
	f("")
	f(" , ,\t,")
	f("a", "a")
	f("a,b", "a", "b")
	f(" a b\t,\tc ", "a b", "c")
}
