package proxy_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"strings"
	"testing"

	"usher/config"
	"usher/proxy/proxytest"
	"usher/proxy/upstream/upstreamtest"
)

// agreeingTLS starts an origin over TLS of one version that answers each request with a
// 101 and then calls talk, and a usher in front of it.
func agreeingTLS(t *testing.T, version uint16, talk func(c *tls.Conn, r *bufio.Reader)) *proxytest.Usher {
	t.Helper()
	authority := upstreamtest.NewAuthority(t)
	pair, _, _ := authority.Issue("127.0.0.1")
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: version, MaxVersion: version}
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		secure := tls.Server(c.Conn, cfg)
		r := bufio.NewReader(secure)
		for line := ""; line != "\r\n"; {
			var err error
			if line, err = r.ReadString('\n'); err != nil {
				t.Errorf("no request: %v", err)
				return
			}
		}
		if _, err := io.WriteString(secure, switching); err != nil {
			t.Errorf("101: %v", err)
			return
		}
		talk(secure, r)
	})
	p := config.Policy{}
	p.Upstream.Protocol, p.Upstream.TLS.PEM.CA = "https", authority.PEM
	return proxytest.Start(t, proxytest.Options{Policy: p, Services: proxytest.Origins(origin.Addr)})
}

// Towards an endpoint over TLS, too, what one side has ended the other may still answer.
func TestTunnelHalfCloseTLS(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			heard := make(chan string, 1)
			u := agreeingTLS(t, version, func(c *tls.Conn, r *bufio.Reader) {
				if b, _ := r.ReadByte(); b == 'c' { // the client ends first
					rest, err := io.ReadAll(r)
					if err != nil {
						t.Errorf("the client's end is %v", err)
					}
					_, _ = io.WriteString(c, "after "+string(rest)+strings.Repeat("x", 1<<20))
					_ = c.Close()
					return
				}
				_, _ = io.WriteString(c, "bye")
				_ = c.CloseWrite()
				rest, _ := io.ReadAll(r)
				heard <- string(rest)
			})

			c := switched(t, u)
			c.Send("client")
			_ = c.CloseWrite()
			receives(t, c.R, "after lient")
			if n, err := io.Copy(io.Discard, c.R); n != 1<<20 || err != nil {
				t.Errorf("then %d bytes, %v", n, err)
			}

			c = switched(t, u)
			c.Send("e")
			receives(t, c.R, "bye")
			c.Closed()
			c.Send("still here")
			_ = c.CloseWrite()
			if got := waitAndGet(t, heard); got != "still here" {
				t.Errorf("the endpoint got %q", got)
			}
			u.Clean(0, 0)
			if n := u.Counter("usher_request_errors_total", nil); n != 0 {
				t.Errorf("%v errors are counted", n)
			}
		})
	}
}

// An endpoint over TLS whose connection ends without a goodbye has broken off.
func TestTunnelBreaksTLS(t *testing.T) {
	t.Parallel()
	u := agreeingTLS(t, tls.VersionTLS13, func(c *tls.Conn, r *bufio.Reader) {
		_, _ = r.ReadByte()
		_ = c.NetConn().Close()
	})
	c := switched(t, u)
	c.Send("x")
	ends(t, "the client", c.R)
	c.Close()
	u.Clean(0, 0)
	if n := u.Counter("usher_request_errors_total", map[string]string{"reason": "upstream_reset"}); n != 1 {
		t.Errorf("%v ends are counted as upstream_reset", n)
	}
}
