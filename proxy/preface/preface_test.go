package preface

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"usher/proxy/wire"
)

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// pair returns the two ends of a connection.
func pair(tb testing.TB) (peer *net.TCPConn, client *wire.Client) {
	tb.Helper()
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close()
	out, err := new(net.Dialer).DialContext(tb.Context(), "tcp", ln.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	in, err := ln.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		out.Close()
		in.Close()
	})
	client, err = wire.NewClient(in.(*net.TCPConn)) //nolint:forcetypeassert // it is TCP
	if err != nil {
		tb.Fatal(err)
	}
	_ = client.TCP.SetReadDeadline(time.Now().Add(patience))
	return out.(*net.TCPConn), client //nolint:forcetypeassert // it is TCP
}

// sent returns a client of whom that was read, in one piece or byte by byte, and who then
// ended.
func sent(tb testing.TB, text string, slowly bool) *wire.Client {
	tb.Helper()
	peer, client := pair(tb)
	_ = peer.SetNoDelay(true)
	go func() {
		for n := len(text); len(text) > 0; text = text[n:] {
			if slowly {
				n = 1
			}
			if _, err := io.WriteString(peer, text[:n]); err != nil {
				break
			}
		}
		_ = peer.CloseWrite()
	}()
	return client
}

// v2 is a header of version 2.
func v2(tb testing.TB, h *proxyproto.Header, tlvs ...proxyproto.TLV) string {
	tb.Helper()
	if err := h.SetTLVs(tlvs); err != nil {
		tb.Fatal(err)
	}
	b, err := h.Format()
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

func tcpAddr(ip string, port int) *net.TCPAddr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: port} }

func TestTakeProxy(t *testing.T) {
	from4, to4 := tcpAddr("192.0.2.1", 1000), tcpAddr("192.0.2.2", 443)
	from6, to6 := tcpAddr("2001:db8::1", 1000), tcpAddr("2001:db8::2", 443)
	udp := &net.UDPAddr{IP: from4.IP, Port: 1}
	for _, tc := range []struct{ name, header, remote, local string }{
		{"v1", "PROXY TCP4 192.0.2.1 192.0.2.2 1000 443\r\n", "192.0.2.1:1000", "192.0.2.2:443"},
		{"v1 of IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 1000 443\r\n", "[2001:db8::1]:1000", "[2001:db8::2]:443"},
		{"v1 unknown", "PROXY UNKNOWN\r\n", "", ""},
		{"v1 unknown with more", "PROXY UNKNOWN 1 2 3\r\n", "", ""},
		{"v2", v2(t, proxyproto.HeaderProxyFromAddrs(2, from4, to4)), "192.0.2.1:1000", "192.0.2.2:443"},
		{
			"v2 of IPv6", v2(t, proxyproto.HeaderProxyFromAddrs(2, from6, to6)),
			"[2001:db8::1]:1000", "[2001:db8::2]:443",
		},
		{"v2 with more", v2(t, proxyproto.HeaderProxyFromAddrs(2, from4, to4),
			proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte("a.com")},
			proxyproto.TLV{Type: 0xEE, Value: bytes.Repeat([]byte("x"), 3000)}), "192.0.2.1:1000", "192.0.2.2:443"},
		{"v2 local", v2(t, proxyproto.HeaderProxyFromAddrs(2, nil, nil)), "", ""},
		{"v2 of UDP", v2(t, proxyproto.HeaderProxyFromAddrs(2, udp, udp)), "", ""},
	} {
		for _, slowly := range []bool{false, true} {
			t.Run(tc.name, func(t *testing.T) {
				c := sent(t, tc.header+"what follows", slowly)
				remote, local := c.Remote.String(), c.Local.String()
				if tc.remote != "" {
					remote, local = tc.remote, tc.local
				}
				if err := TakeProxy(c); err != nil {
					t.Fatal(err)
				}
				rest, err := io.ReadAll(c.TCP)
				if got := string(c.Early) + string(rest); got != "what follows" || err != nil {
					t.Errorf("%q, %v follow", got, err)
				}
				if c.Remote.String() != remote || c.Local.String() != local {
					t.Errorf("got %s to %s, want %s to %s", c.Remote, c.Local, remote, local)
				}
			})
		}
	}
}

// What is no header is left as it is.
func TestNoHeader(t *testing.T) {
	for _, text := range []string{
		"GET / HTTP/1.1\r\n\r\n", "P", "PR", "PROXIED", "\r\n\r\n\x00\r\nQUIX", "\x16\x03\x01", "Q",
	} {
		c := sent(t, text, false)
		err := TakeProxy(c)
		ended := errors.Is(err, io.EOF) // it might have become one
		if !errors.Is(err, ErrNoHeader) && !ended || string(c.Early) != text {
			t.Errorf("%q: got %v, and %q", text, err, c.Early)
		}
	}
}

func TestMalformedHeader(t *testing.T) {
	sig := string(proxyproto.SIGV2)
	for name, text := range map[string]string{
		"family":        "PROXY TCP5 192.0.2.1 192.0.2.2 1000 443\r\n",
		"address":       "PROXY TCP4 192.0.2.300 192.0.2.2 1000 443\r\n",
		"port":          "PROXY TCP4 192.0.2.1 192.0.2.2 1000 99999\r\n",
		"line end":      "PROXY TCP4 192.0.2.1 192.0.2.2 1000 443\n",
		"two spaces":    "PROXY  TCP4 192.0.2.1 192.0.2.2 1000 443\r\n",
		"no space":      "PROXYTCP4 192.0.2.1 192.0.2.2 1000 443\r\n",
		"long":          "PROXY UNKNOWN" + strings.Repeat(" ", 200) + "\r\n",
		"v2 version":    sig + "\x31\x11\x00\x0c" + strings.Repeat("x", 12),
		"v2 family":     sig + "\x21\x51\x00\x0c" + strings.Repeat("x", 12),
		"v2 short":      sig + "\x21\x11\x00\x04xxxx",
		"v2 too long":   sig + "\x21\x11\xff\xff" + strings.Repeat("x", 100),
		"v2 without":    sig + "\x21\x00\x00\x00",
		"v1 cut":        "PROXY TCP4 192.0.2.1",
		"v2 cut":        sig + "\x21\x11\x00\x0cxx",
		"v2 cut before": sig,
	} {
		c := sent(t, text, false)
		if err := TakeProxy(c); err == nil || errors.Is(err, ErrNoHeader) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Who says nothing is not waited for longer than the deadline.
func TestDeadline(t *testing.T) {
	peer, c := pair(t)
	_, _ = io.WriteString(peer, "PROXY ")
	_ = c.TCP.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if err := TakeProxy(c); !errors.Is(err, os.ErrDeadlineExceeded) || string(c.Early) != "PROXY " {
		t.Errorf("got %v, %q", err, c.Early)
	}
}

func TestHeader(t *testing.T) {
	from4, to4, from6 := tcpAddr("192.0.2.1", 1000), tcpAddr("192.0.2.2", 443), tcpAddr("2001:db8::1", 7)
	if got := string(Header("v1", from4, to4)); got != "PROXY TCP4 192.0.2.1 192.0.2.2 1000 443\r\n" {
		t.Errorf("got %q", got)
	}
	if got := string(Header("v1", &net.UnixAddr{}, nil)); got != "PROXY UNKNOWN\r\n" {
		t.Errorf("got %q", got)
	}
	for _, version := range []string{"v1", "v2"} {
		for _, from := range []*net.TCPAddr{from4, from6} {
			b := Header(version, from, to4)
			remote, local, err := parseProxy(b)
			if err != nil || remote.String() != from.String() || !strings.HasSuffix(local.String(), ":443") {
				t.Errorf("%s: %q is %v, %v, %v", version, b, remote, local, err)
			}
		}
	}
}

// A header nobody asked for is found in whatever pieces it comes.
func TestGuard(t *testing.T) {
	f := func(want bool, pieces ...string) {
		t.Helper()
		var g Guard
		for _, p := range pieces {
			more, ok := g.Inspect([]byte(p))
			if !ok {
				if want {
					t.Errorf("%q is refused", pieces)
				}
				return
			}
			if !more {
				break
			}
		}
		if !want {
			t.Errorf("%q is let through", pieces)
		}
	}
	f(false, "PROXY TCP4 192.0.2.1 192.0.2.2 1000 443\r\n")
	f(false, "P", "R", "O", "X", "Y", " ")
	f(false, "PROX", "Y TCP4")
	f(false, string(proxyproto.SIGV2)+"\x21")
	f(false, string(proxyproto.SIGV2[:5]), string(proxyproto.SIGV2[5:]))
	f(true, "PROXIED ")
	f(true, "P", "ING")
	f(true, "PR")
	f(true, "x", "PROXY ")
	f(true, "\r\n\r\n", "GET")
	f(true, "\x16\x03\x01\x00")
}

// A header that is read is the one that the library finds, with the same length, however
// it is cut.
func FuzzTakeProxy(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 192.0.2.2 1000 443\r\nx"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add(Header("v2", tcpAddr("192.0.2.1", 1), tcpAddr("192.0.2.2", 2)))
	f.Add(Header("v2", tcpAddr("::1", 1), tcpAddr("::2", 2)))
	f.Add(Header("v2", nil, nil))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := proxyLen(b)
		for cut := range b { // what is known of a part stays true of the whole
			if m, e := proxyLen(b[:cut]); e == nil && (m != n || err != nil) ||
				cut > 0 && e != nil && !errors.Is(e, errMore) && !errors.Is(err, e) && e.Error() != err.Error() {
				t.Fatalf("%q: %d, %v; %q: %d, %v", b, n, err, b[:cut], m, e)
			}
		}
		var g Guard
		_, ok := g.Inspect(b)
		if err != nil {
			if errors.Is(err, ErrNoHeader) && !ok {
				t.Fatalf("%q is no header and yet refused", b)
			}
			return
		}
		if n <= 0 || n > len(b) {
			t.Fatalf("%q: a length of %d", b, n)
		}
		remote, local, err := parseProxy(b[:n])
		if err != nil {
			return
		}
		if ok {
			t.Fatalf("%q is a header and yet let through", b)
		}
		if (remote == nil) != (local == nil) {
			t.Fatalf("%q: %v to %v", b, remote, local)
		}
	})
}
