package proxy_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
)

// named starts origins that answer with their numbers, from 0.
func named(t *testing.T, n int) (origins []*proxytest.Origin, addresses []string) {
	t.Helper()
	for i := range n {
		const answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nSet-Cookie: own=1\r\n\r\n%d"
		o := proxytest.Answering(t, fmt.Sprintf(answer, i))
		origins, addresses = append(origins, o), append(addresses, o.Addr)
	}
	return origins, addresses
}

// visit asks with these lines in the head, and returns which origin answered and the
// cookie of usher's that came with it, empty for none.
func visit(t *testing.T, c *proxytest.Client, fields string) (origin, cookie string) {
	t.Helper()
	c.Send("GET / HTTP/1.1\r\nHost: a.example\r\n%s\r\n", fields)
	r := c.Read("GET")
	if r.StatusCode != 200 || r.Err != nil {
		t.Fatalf("got %s %q %v", r.Status, r.Text, r.Err)
	}
	own := 0
	for _, k := range r.Cookies() {
		switch k.Name {
		case "srv":
			cookie = k.Value
			if k.Path != "/" || !k.HttpOnly || k.SameSite != http.SameSiteLaxMode || k.Secure || k.MaxAge != 60 {
				t.Errorf("got %s", k)
			}
		case "own":
			own++
		}
	}
	if own != 1 {
		t.Errorf("the origin's cookie came %d times", own)
	}
	return r.Text, cookie
}

func stickyPolicy() config.Policy {
	return config.Policy{
		Balance: "round_robin",
		Sticky: config.Sticky{
			Cookie: "srv", TTL: time.Minute, SameSite: "lax", Path: "/", Secret: "a secret of the fleet's",
		},
	}
}

// A client comes back to where it was first, whoever asks beside it; the cookie is set
// once.
func TestSticky(t *testing.T) {
	t.Parallel()
	_, addresses := named(t, 4)
	u := proxytest.Start(t, proxytest.Options{Policy: stickyPolicy(), Services: proxytest.Origins(addresses...)})
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			c := u.Dial()
			home, cookie := visit(t, c, "")
			if cookie == "" || strings.Contains(cookie, "127") {
				t.Errorf("got the cookie %q", cookie)
			}
			for _, fields := range []string{
				"Cookie: srv=" + cookie, "Cookie: a=b; srv=" + cookie + "; c=d", "Cookie: a=b\r\nCookie: srv=" + cookie,
				`Cookie: srv="` + cookie + `"`, "Cookie: srv=forged; srv=" + cookie, "cookie:srv=" + cookie,
			} {
				for range 5 {
					if at, again := visit(t, c, fields+"\r\n"); at != home || again != "" {
						t.Errorf("%s: went to %s, not %s, and got the cookie %q", fields, at, home, again)
					}
				}
			}
		})
	}
	clients.Wait()
	u.Quiet()
}

// Cookies that are forged, foreign or not usher's are ignored: the client gets another.
func TestStickyForged(t *testing.T) {
	t.Parallel()
	_, addresses := named(t, 3)
	u := proxytest.Start(t, proxytest.Options{Policy: stickyPolicy(), Services: proxytest.Origins(addresses...)})
	other := stickyPolicy()
	other.Sticky.Secret = "the secret of somebody else"
	foreign := proxytest.Start(t, proxytest.Options{Policy: other, Services: proxytest.Origins(addresses...)})
	_, stranger := visit(t, foreign.Dial(), "")
	c := u.Dial()
	_, valid := visit(t, c, "")
	seen := map[string]bool{}
	for _, value := range []string{
		stranger, "", "0", addresses[0], valid[1:], valid + "x", strings.ToUpper(valid), "\"", "=" + valid,
	} {
		for range 3 {
			at, cookie := visit(t, c, "Cookie: srv="+value+"\r\n")
			if cookie == "" {
				t.Errorf("%q was taken", value)
			}
			seen[at] = true
		}
	}
	for _, name := range []string{"Srv", "srv2", "xsrv"} {
		if _, cookie := visit(t, c, "Cookie: "+name+"="+valid+"\r\n"); cookie == "" {
			t.Errorf("%s was taken for srv", name)
		}
	}
	if len(seen) != 3 {
		t.Errorf("only %v were asked", seen)
	}
}

// The cookie survives swaps, another usher understands it, and an endpoint that leaves,
// or does not answer, fails over to one that stays the client's.
func TestStickyFailover(t *testing.T) {
	t.Parallel()
	origins, addresses := named(t, 3)
	u := proxytest.Start(t, proxytest.Options{Policy: stickyPolicy(), Services: proxytest.Origins(addresses...)})
	c := u.Dial()
	home, cookie := visit(t, c, "")
	for i := range 20 {
		u.Publish(
			proxytest.Service{Name: "origin", Addresses: addresses},
			proxytest.Service{
				Name: "other", Routes: []string{fmt.Sprintf("b.example/%d", i)}, Addresses: addresses[:1+i%3],
			},
		)
		if at, again := visit(t, c, "Cookie: srv="+cookie+"\r\n"); at != home || again != "" {
			t.Fatalf("swap %d: went to %s, not %s, and got the cookie %q", i, at, home, again)
		}
	}
	second := proxytest.Start(t, proxytest.Options{Policy: stickyPolicy(), Services: proxytest.Origins(addresses...)})
	if at, again := visit(t, second.Dial(), "Cookie: srv="+cookie+"\r\n"); at != home || again != "" {
		t.Errorf("by another usher: went to %s, not %s, and got the cookie %q", at, home, again)
	}

	origins[home[0]-'0'].Close()
	next, moved := visit(t, c, "Cookie: srv="+cookie+"\r\n")
	if next == home || moved == "" || moved == cookie {
		t.Fatalf("its endpoint is dead: went to %s with the cookie %q", next, moved)
	}
	for range 5 {
		if at, again := visit(t, c, "Cookie: srv="+moved+"\r\n"); at != next || again != "" {
			t.Errorf("after the failover: went to %s, not %s, and got the cookie %q", at, next, again)
		}
	}
	// The one it is at now leaves: what is left answers.
	last := 3 - int(home[0]-'0') - int(next[0]-'0')
	gone := []string{proxytest.Nowhere(t), proxytest.Nowhere(t), proxytest.Nowhere(t)}
	gone[last] = addresses[last]
	u.Publish(proxytest.Service{Name: "origin", Addresses: gone})
	if at, again := visit(t, c, "Cookie: srv="+moved+"\r\n"); at != fmt.Sprint(last) || again == "" || again == moved {
		t.Errorf("its endpoint has left: went to %s with the cookie %q", at, again)
	}
	u.Quiet()
}

// A service without a cookie sets none, and pays no attention to one.
func TestNotSticky(t *testing.T) {
	t.Parallel()
	_, addresses := named(t, 2)
	u := proxytest.Start(t, proxytest.Options{Services: proxytest.Origins(addresses...)})
	c := u.Dial()
	for _, fields := range []string{"", "Cookie: srv=x\r\n", "Cookie: =; ;=\r\n"} {
		if _, cookie := visit(t, c, fields); cookie != "" {
			t.Errorf("%q: got the cookie %q", fields, cookie)
		}
	}
}
