package balance

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/routetable"
	"usher/watcher"
)

const secret = "a secret of the fleet's"

// stickyOf is a sticky cluster that otherwise goes round robin.
func stickyOf(t *testing.T, settings config.Sticky, processSecret string, endpoints []*routetable.Endpoint) *Sticky {
	t.Helper()
	c := clusterOf(endpoints)
	c.Policy.Sticky = settings
	p := sticking(NewRoundRobin, []byte(processSecret))(c, &routetable.ClusterState{})
	s, ok := p.(*Sticky)
	if !ok {
		t.Fatalf("got %T", p)
	}
	return s
}

// cookieOf is the cookie that names an endpoint.
func cookieOf(t *testing.T, s *Sticky, i int) *http.Cookie {
	t.Helper()
	line := string(s.AppendField(nil, i))
	value, ok := strings.CutPrefix(line, "Set-Cookie: ")
	if !ok || !strings.HasSuffix(line, "\r\n") || strings.Count(line, "\n") != 1 {
		t.Fatalf("got the line %q", line)
	}
	c, err := http.ParseSetCookie(strings.TrimSpace(value))
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return c
}

func TestStickyCookie(t *testing.T) {
	for name, c := range map[string]struct {
		settings config.Sticky
		want     http.Cookie
	}{
		"default": {
			config.Sticky{Cookie: "srv", SameSite: "lax", Path: "/"},
			http.Cookie{Name: "srv", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode},
		},
		"everything": {
			config.Sticky{Cookie: "srv", TTL: 1500 * time.Millisecond, Secure: true, SameSite: "none", Path: "/shop"},
			http.Cookie{
				Name: "srv", Path: "/shop", MaxAge: 2, HttpOnly: true, Secure: true, SameSite: http.SameSiteNoneMode,
			},
		},
		"strict": {
			config.Sticky{Cookie: "srv", SameSite: "strict", Path: "/"},
			http.Cookie{Name: "srv", Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode},
		},
	} {
		got := cookieOf(t, stickyOf(t, c.settings, secret, fleet(1)), 0)
		if len(got.Value) != 22 {
			t.Errorf("%s: the value is %q", name, got.Value)
		}
		got.Value, got.Raw = "", ""
		if got.String() != c.want.String() {
			t.Errorf("%s: got %s, want %s", name, got, &c.want)
		}
	}
}

// The value says which endpoint of which service it is, to whoever has the secret, and
// nothing to others.
func TestStickyValues(t *testing.T) {
	settings := config.Sticky{Cookie: "srv", SameSite: "lax", Path: "/"}
	of := func(endpoints []*routetable.Endpoint, secret, processSecret string) []string {
		settings := settings
		settings.Secret = secret
		var out []string
		s := stickyOf(t, settings, processSecret, endpoints)
		for i := range endpoints {
			c := cookieOf(t, s, i)
			if got := s.Find([]byte(c.Value)); got != i {
				t.Errorf("the cookie of %d finds %d", i, got)
			}
			out = append(out, c.Value)
		}
		return out
	}
	first := of(fleet(3), secret, "")
	if slices.Equal(first[:2], first[1:]) {
		t.Errorf("endpoints have the same value: %q", first)
	}
	other := fleet(4)
	for _, e := range other {
		e.Address, e.Weight = "elsewhere:80", 7
	}
	if got := of(other, secret, "another process"); !slices.Equal(got[:3], first) {
		t.Errorf("another process with the secret: %q, %q", got, first)
	}
	for name, values := range map[string][]string{
		"another secret": of(fleet(3), secret+"!", ""), "without one": of(fleet(3), "", "made up"),
	} {
		if slices.ContainsFunc(values, func(v string) bool { return slices.Contains(first, v) }) {
			t.Errorf("%s: %q", name, values)
		}
	}
	foreign := fleet(3)
	for _, e := range foreign {
		e.Service = watcher.Key{Registry: "consul", Service: "another"}
	}
	if got := of(foreign, secret, ""); got[0] == first[0] {
		t.Errorf("an endpoint of another service has the same value %q", got[0])
	}
	s := stickyOf(t, settings, secret, fleet(3))
	for _, forged := range []string{
		"", "0", "1", first[0][:21], first[0] + "A", strings.ToLower(first[0]), strings.Repeat("A", 22),
	} {
		if i := s.Find([]byte(forged)); i != -1 {
			t.Errorf("%q finds %d", forged, i)
		}
	}
}

// The cookie's endpoint is taken if it may be; otherwise the policy decides.
func TestStickyPicks(t *testing.T) {
	settings := config.Sticky{Cookie: "srv", SameSite: "lax", Path: "/"}
	s := stickyOf(t, settings, secret, fleet(4))
	all, without := viewOf(1, 1, 1, 1), viewOf(1, 1, 0, 1)
	info := &routetable.PickInfo{}
	info.SetHome(2)
	for range 10 {
		if i := pick(t, s, all, info); i != 2 {
			t.Fatalf("got %d", i)
		}
	}
	seen := map[int]bool{}
	for range 9 {
		seen[pick(t, s, without, info)] = true
	}
	if len(seen) != 3 || seen[2] {
		t.Errorf("while it is out: %v", seen)
	}
	info.Try(2)
	if i := pick(t, s, all, info); i == 2 {
		t.Error("it was tried already")
	}
	seen = map[int]bool{}
	for range 8 {
		seen[pick(t, s, all, &routetable.PickInfo{})] = true
	}
	if len(seen) != 4 {
		t.Errorf("without a cookie: %v", seen)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = s.Pick(all, info) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNotSticky(t *testing.T) {
	for name, balancer := range All() {
		if p := balancer(clusterOf(fleet(2)), &routetable.ClusterState{}); p == nil {
			t.Errorf("%s: no picker", name)
		} else if _, ok := p.(*Sticky); ok {
			t.Errorf("%s: sticky without a cookie", name)
		}
	}
}

func BenchmarkSticky(b *testing.B) {
	const n = 1000
	c := clusterOf(fleet(n))
	c.Policy.Sticky = config.Sticky{Cookie: "srv", SameSite: "lax", Path: "/", Secret: secret}
	s := NewSticky(NewLeastRequest(c, nil), c, nil)
	v := viewOf(equal(n)...)
	b.Run("find and pick", func(b *testing.B) {
		values := make([][]byte, n)
		for i, value := range s.values {
			values[i] = []byte(value)
		}
		b.ReportAllocs()
		at := 0
		var info routetable.PickInfo
		for b.Loop() {
			info.SetHome(s.Find(values[at%n]))
			at += 7
			if _, err := s.Pick(v, &info); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("set", func(b *testing.B) {
		b.ReportAllocs()
		var out []byte
		for b.Loop() {
			out = s.AppendField(out[:0], 5)
		}
	})
	b.Run("build", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			NewSticky(nil, c, nil)
		}
	})
}
