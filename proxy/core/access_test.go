package core_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"usher/config"
	"usher/proxy/proxytest"
)

const (
	denied       = "access_denied"
	unauthorized = "unauthorized"
)

// restricted is a service whose only rule has these options.
func restricted(options, address string) proxytest.Service {
	return proxytest.Service{Name: "origin", Routes: []string{"/ " + options}, Addresses: []string{address}}
}

// The rules of access as clients meet them: who is refused is told so, and nothing
// reaches the origin; the connection goes on.
func TestAccess(t *testing.T) {
	t.Parallel()
	const ten, home = "allow=ip:10.0.0.0/8", "allow=ip:127.0.0.0/8"
	for _, tc := range []struct {
		name, rule, fields string
		reason             string
	}{
		{"the peer is allowed", home, "", ""},
		{"the peer is not allowed", ten, "", denied},
		{"the peer is denied", "deny=ip:127.0.0.1", "", denied},
		{"the peer is not denied", "deny=ip:10.0.0.0/8", "", ""},
		{"an IPv6 rule is not for IPv4", "allow=ip:::/0", "", denied},
		{"IPv4 in the clothes of IPv6", "deny=ip:::ffff:127.0.0.1", "", denied},
		{"claims to be forwarded for one allowed", ten, "X-Forwarded-For: 10.0.0.1\r\n", denied},
		{"forwarded for one allowed", home, "X-Forwarded-For: 127.0.0.2\r\n", ""},
		{"forwarded for one not allowed", home, "X-Forwarded-For: 10.0.0.1\r\n", denied},
		{"forwarded, in lower case", home, "x-forwarded-for: 10.0.0.1\r\n", denied},
		{"forwarded, the last of a list", home, "X-Forwarded-For: 127.0.0.2, 10.0.0.1\r\n", denied},
		{"forwarded, the second field", home, "X-Forwarded-For: 127.0.0.2\r\nX-Forwarded-For: 10.0.0.1\r\n", denied},
		{"forwarded, two fields", home, "X-Forwarded-For: 127.0.0.2\r\nX-Forwarded-For: 127.0.0.3\r\n", ""},
		{"forwarded, mapped", "deny=ip:6.6.6.6", "X-Forwarded-For: ::ffff:6.6.6.6\r\n", denied},
		{"forwarded, IPv6", "allow=ip:127.0.0.0/8,ip:2001:db8::/32", "X-Forwarded-For: 2001:db8::1\r\n", ""},
		{"forwarded, garbage", home, "X-Forwarded-For: garbage\r\n", denied},
		{"forwarded, garbage and a deny list", "deny=ip:6.6.6.6", "X-Forwarded-For: unknown\r\n", denied},
		{"forwarded, nothing", home, "X-Forwarded-For:\r\n", denied},
		{"forwarded, named by Connection", home, "Connection: x-forwarded-for\r\nX-Forwarded-For: 1.1.1.1\r\n", denied},
		{"no rule and garbage", "", "X-Forwarded-For: garbage\r\n", ""},
		{"a scheme", "auth=staff", "", unauthorized},
		{"a scheme and an answer to it", "auth=staff", "Authorization: Basic YTpi\r\n", unauthorized},
		{"a scheme and garbage", "auth=staff", "X-Forwarded-For: garbage\r\n", unauthorized},
		{"a scheme, and denied", "auth=staff " + ten, "", denied},
		{"a scheme, and allowed", "auth=staff " + home, "", unauthorized},
	} {
		// What a trusted peer says of others is believed when the request is forwarded;
		// the rules take it in either way.
		for _, trusted := range [][]string{nil, {"127.0.0.0/8"}} {
			t.Run(tc.name+" "+strings.Join(trusted, ""), func(t *testing.T) {
				t.Parallel()
				origin := proxytest.Echo(t)
				u := proxytest.Start(t, proxytest.Options{
					Listeners: []config.Listener{{TrustedProxies: trusted}},
					Services:  []proxytest.Service{restricted(tc.rule, origin.Addr)},
				})
				c := u.Dial()
				for range 2 {
					c.Send("GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", tc.fields)
					check(t, c.Read("GET"), tc.reason)
				}
				u.Quiet()
				if tc.reason == "" {
					return
				}
				if n := origin.Accepted(); n != 0 {
					t.Errorf("the origin was connected to %d times", n)
				}
				if n := u.Counter("usher_request_errors_total", map[string]string{"reason": tc.reason}); n != 2 {
					t.Errorf("%v are counted", n)
				}
			})
		}
	}
}

// check checks an answer: reason is why usher refuses, empty when it is the origin's.
func check(t *testing.T, r *proxytest.Response, reason string) {
	t.Helper()
	status := map[string]int{"": 200, denied: 403, unauthorized: 401, "connect_failed": 502}[reason]
	if r.StatusCode != status || r.Header.Get("X-Usher-Reason") != reason || r.Close {
		t.Errorf("got %d %v, want %q", r.StatusCode, r.Header, reason)
	}
	challenge := ""
	if reason == unauthorized {
		challenge = `Basic realm="staff"`
	}
	if got := r.Header.Get("WWW-Authenticate"); got != challenge {
		t.Errorf("challenge %q, want %q", got, challenge)
	}
}

// A name in the challenge cannot end its quotes.
func TestChallengeIsQuoted(t *testing.T) {
	t.Parallel()
	u := proxytest.Start(t, proxytest.Options{Services: []proxytest.Service{restricted(`auth=a"b\c`, "127.0.0.1:1")}})
	if got := u.Dial().Get("/").Header.Get("WWW-Authenticate"); got != `Basic realm="a\"b\\c"` {
		t.Errorf("got %s", got)
	}
}

// A client's own address counts as such, whichever way the listener sees it.
func TestAccessOfPeers(t *testing.T) {
	t.Parallel()
	probe, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here")
	}
	probe.Close()
	for _, tc := range []struct{ name, listen, client, rule, reason string }{
		{"IPv6", "[::1]:0", "::1", "allow=ip:::1", ""},
		{"IPv6, not allowed", "[::1]:0", "::1", "allow=ip:127.0.0.0/8", denied},
		{"IPv4 on a socket of both", "[::]:0", "127.0.0.1", "allow=ip:127.0.0.0/8", ""},
		{"IPv4 on a socket of both, denied", "[::]:0", "127.0.0.1", "deny=ip:127.0.0.1", denied},
		{"IPv4 on a socket of both is no IPv6", "[::]:0", "127.0.0.1", "allow=ip:::/0", denied},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			u := proxytest.Start(t, proxytest.Options{
				Listeners: []config.Listener{{Address: tc.listen}},
				Services:  []proxytest.Service{restricted(tc.rule, proxytest.Echo(t).Addr)},
			})
			_, port, err := net.SplitHostPort(u.Addr())
			if err != nil {
				t.Fatal(err)
			}
			check(t, proxytest.Dial(t, net.JoinHostPort(tc.client, port)).Get("/"), tc.reason)
		})
	}
}

// A service that shares the source of a restricted one serves whom it likes; who is
// refused by the one is not passed on to the other, and what the client said counts
// at a second try as well.
func TestAccessOfASharedRoute(t *testing.T) {
	t.Parallel()
	origin := proxytest.Echo(t)
	const forged = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n"
	t.Run("each by its own rules", func(t *testing.T) {
		t.Parallel()
		u := proxytest.Start(t, proxytest.Options{Services: []proxytest.Service{
			{Name: "open", Addresses: []string{origin.Addr}},
			{Name: "closed", Routes: []string{"/ allow=ip:10.0.0.0/8"}, Addresses: []string{origin.Addr}},
		}})
		c, got := u.Dial(), map[int]int{}
		for range 10 {
			got[c.Get("/").StatusCode]++
		}
		if got[200] != 5 || got[403] != 5 {
			t.Errorf("got %v", got)
		}
	})
	t.Run("at a second try", func(t *testing.T) {
		t.Parallel()
		// Round robin begins with either; the one that is nowhere is left for the other.
		u := proxytest.Start(t, proxytest.Options{Services: []proxytest.Service{
			{Name: "nowhere", Addresses: []string{proxytest.Nowhere(t)}},
			{Name: "there", Routes: []string{"/ allow=ip:127.0.0.0/8"}, Addresses: []string{origin.Addr}},
		}})
		for range 4 {
			c := u.Dial()
			check(t, c.Get("/"), "")
			c.Send(forged)
			check(t, c.Read("GET"), denied)
		}
	})
}

// A request with a body is refused with all that belongs to it.
func TestAccessOfABody(t *testing.T) {
	t.Parallel()
	u := proxytest.Start(t, proxytest.Options{Services: []proxytest.Service{
		restricted("allow=ip:10.0.0.0/8", proxytest.Nowhere(t)),
	}})
	c := u.Dial()
	for range 2 {
		c.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
		check(t, c.Read("POST"), denied)
	}
	u.Quiet()
}

// Rules of access cost no allocation.
func TestAccessAllocatesNothing(t *testing.T) {
	if proxytest.Race {
		t.Skip("the race detector allocates by itself")
	}
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	request := []byte("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1, ::ffff:10.0.0.2\r\n" +
		"X-Forwarded-For: 2001:db8::1\r\n\r\n")
	// An origin that allocates nothing itself.
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		r, out := bufio.NewReader(c.Conn), []byte(answer)
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) > len("\r\n") {
				continue
			}
			if _, err := c.Conn.Write(out); err != nil {
				return
			}
		}
	})
	u := proxytest.Start(t, proxytest.Options{Services: []proxytest.Service{
		restricted("allow=ip:127.0.0.0/8,ip:10.0.0.0/8,ip:2001:db8::/32", origin.Addr),
	}})
	c := u.Dial()
	got := make([]byte, len(answer))
	const n = 4000
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection would empty the pools
	var before, after runtime.MemStats
	for i := range 2 * n {
		if i == n {
			runtime.ReadMemStats(&before)
		}
		_, err := c.Write(request)
		if _, readErr := io.ReadFull(c.R, got); errors.Join(err, readErr) != nil || string(got[:12]) != answer[:12] {
			t.Fatalf("%q: %v", got, errors.Join(err, readErr))
		}
	}
	runtime.ReadMemStats(&after)
	if per := float64(after.Mallocs-before.Mallocs) / float64(n); per >= 0.05 {
		t.Errorf("%.3f allocations a request", per)
	}
}
