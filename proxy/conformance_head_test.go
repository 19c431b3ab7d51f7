package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"usher/config"
	"usher/proxy/proxytest"
)

// targets must reach the origin byte for byte.
var targets = []string{
	"/", "/?", "/??", "/?a=b&c=d", "//", "//evil/?u=http://z", "/a//b///c", "/./a/../b", "/..", "/a/./", "/%2e%2e/a",
	"/api%2Fadmin/%41%zz?x=%23", "/%", "/%4", "/%zz", "/a%00b", "/%c3%a4", "/a+b?c+d", "/a;b=c?d;e", "/a:b@c", "/*",
	"/a?b?c", "/a?b/../c", "/~a!$&'()*+,;=:@", "/a|b", "/a\"b<c>", "/a\\b", "/a^b`c{d}", "/http://b/c",
	"/a?u=http://b/c?d=e", "/" + strings.Repeat("a", 4000), "/?" + strings.Repeat("a=%20&", 2000),
}

func TestConformTargets(t *testing.T) {
	origin := proxytest.Raw(t, func(c *proxytest.Conn) {
		for {
			_, target, _ := strings.Cut(c.Head(), " ")
			target, _, ok := strings.Cut(target, " HTTP/1.1\r\n")
			if !ok || !c.Reply("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(target), target) {
				return
			}
		}
	})
	conform(t, proxytest.Options{Services: proxytest.Origins(origin.Addr)}, func(t *testing.T, f *fixture) {
		for _, target := range targets {
			if r := f.get(target); r.StatusCode != 200 || r.text != target {
				t.Errorf("%.100q: got %d %.100q", target, r.StatusCode, r.text)
			}
		}
	})
}

func TestConformHead(t *testing.T) {
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		h := r.Header.Clone()
		h.Set("Method", r.Method)
		h.Set("Host", r.Host)
		_ = h.Write(w)
	})
	conform(t, proxytest.Options{Services: proxytest.Origins(origin)}, func(t *testing.T, f *fixture) {
		req := f.request("PATCH", "/", http.NoBody)
		req.Host = "Shop.Example.com:8080"
		req.Header["X-Two"] = []string{"a", "b"}
		req.Header.Set("X-Forwarded-For", "6.6.6.6")
		req.Header.Set("Forwarded", "for=6.6.6.6")
		req.Header.Set("X_Under_Score", "6.6.6.6")
		req.Header.Set("Authorization", "Basic x")
		req.Header.Set("Cookie", "a=b; c=d")
		got := f.do(req).text
		for _, want := range []string{
			"Method: PATCH", "Host: Shop.Example.com:8080", "X-Two: a\r\nX-Two: b", "X-Forwarded-For: 127.0.0.1",
			"X-Forwarded-Host: Shop.Example.com:8080", "X-Forwarded-Proto: " + f.scheme, "X-Real-Ip: 127.0.0.1",
			"Authorization: Basic x", "Cookie: a=b; c=d", "Cdn-Loop: usher-",
		} {
			if !strings.Contains("\r\n"+got, "\r\n"+want) {
				t.Errorf("%q is missing in %q", want, got)
			}
		}
		if strings.Contains(got, "6.6.6.6") {
			t.Errorf("a stranger is believed: %q", got)
		}
	})
}

func TestConformResponseHead(t *testing.T) {
	const date = "Thu, 01 Jan 1970 00:00:00 GMT"
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bare" {
			w.Header()["Date"], w.Header()["Content-Type"] = nil, nil
			return
		}
		w.Header().Set("Date", date)
		w.Header().Set("Server", "mine")
		w.Header().Set("Content-Type", "a/b")
		w.Header()["Set-Cookie"] = []string{"a=1; Path=/", "a=2; Path=/x", "b=3"}
		w.Header().Set("Keep-Alive", "timeout=5")
		w.WriteHeader(http.StatusTeapot)
	})
	conform(t, proxytest.Options{Services: proxytest.Origins(origin)}, func(t *testing.T, f *fixture) {
		r := f.get("/")
		h := r.Header
		if r.StatusCode != http.StatusTeapot || h.Get("Date") != date || h.Get("Server") != "mine" ||
			h.Get("Content-Type") != "a/b" || h.Get("Keep-Alive") != "" {
			t.Errorf("got %d %v", r.StatusCode, h)
		}
		if got := h.Values("Set-Cookie"); !slices.Equal(got, []string{"a=1; Path=/", "a=2; Path=/x", "b=3"}) {
			t.Errorf("cookies: got %q", got)
		}
		h = f.get("/bare").Header
		h.Del("Content-Length")
		if len(h) > 0 {
			t.Errorf("the bare response came with %v", h)
		}
	})
}

// Each answer of usher's own has its status and its reason.
func TestConformReasons(t *testing.T) {
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	reset := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	short := 150 * time.Millisecond
	for _, tc := range []struct {
		name    string
		service proxytest.Service
		policy  config.Policy
		status  int
		reason  string
	}{
		{"no route", proxytest.Service{Routes: []string{"/other"}}, config.Policy{}, 404, "no_route"},
		{
			"no endpoint",
			proxytest.Service{Addresses: []string{serve(t, hang)}, Status: 2},
			config.Policy{},
			503, "no_healthy_endpoint",
		},
		{
			"connection refused",
			proxytest.Service{Addresses: []string{proxytest.Nowhere(t), proxytest.Nowhere(t)}},
			config.Policy{},
			502, "connect_failed",
		},
		{
			"connection never made",
			proxytest.Service{Addresses: []string{proxytest.Deaf(t)}},
			config.Policy{ConnectTimeout: short},
			504, "connect_timeout",
		},
		{
			"no response in time",
			proxytest.Service{Addresses: []string{serve(t, hang)}},
			config.Policy{Timeout: short},
			504, "upstream_timeout",
		},
		{
			"total time",
			proxytest.Service{Addresses: []string{serve(t, hang)}},
			config.Policy{TotalTimeout: short},
			504, "total_timeout",
		},
		{
			"reset",
			proxytest.Service{Addresses: []string{serve(t, reset)}},
			config.Policy{},
			502, "upstream_reset",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.service.Name = "origin"
			o := proxytest.Options{Policy: tc.policy, Services: []proxytest.Service{tc.service}}
			if tc.service.Addresses == nil {
				o.Services[0].Addresses = []string{proxytest.Nowhere(t)}
			}
			conform(t, o, func(t *testing.T, f *fixture) {
				for _, method := range []string{"GET", "POST"} {
					r := f.do(f.request(method, "/", http.NoBody))
					reason := r.Header.Get("X-Usher-Reason")
					if r.StatusCode != tc.status || reason != tc.reason {
						t.Errorf("%s: got %d %q, want %d %q", method, r.StatusCode, reason, tc.status, tc.reason)
					}
					if !strings.HasPrefix(r.text, reason) || r.err != nil {
						t.Errorf("%s: got %q (%v)", method, r.text, r.err)
					}
				}
			})
		})
	}
}

// The total time bounds a body that has begun, too.
func TestConformTotalTimeout(t *testing.T) {
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, "more")
			w.(http.Flusher).Flush()
			<-tick.C
		}
	})
	o := proxytest.Options{
		Policy: config.Policy{TotalTimeout: 300 * time.Millisecond}, Services: proxytest.Origins(origin),
	}
	conform(t, o, func(t *testing.T, f *fixture) {
		begin := time.Now()
		if r := f.get("/"); r.err == nil || time.Since(begin) > 3*time.Second {
			t.Errorf("got %d bytes (%v) in %v", len(r.text), r.err, time.Since(begin))
		}
	})
}

// An origin's own errors are its own.
func TestConformOriginErrors(t *testing.T) {
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.URL.Path[1:])
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "mine")
	})
	conform(t, proxytest.Options{Services: proxytest.Origins(origin)}, func(t *testing.T, f *fixture) {
		for _, status := range []int{200, 206, 301, 400, 404, 413, 421, 429, 500, 502, 503, 504, 511, 599} {
			r := f.get(fmt.Sprintf("/%d", status))
			if r.StatusCode != status || r.text != "mine" || r.Header.Get("X-Usher-Reason") != "" {
				t.Errorf("%d: got %d %q %v", status, r.StatusCode, r.text, r.Header)
			}
		}
	})
}

// Hints sent early arrive before the response.
func TestConformEarlyHints(t *testing.T) {
	origin := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusOK)
	})
	conform(t, proxytest.Options{Services: proxytest.Origins(origin)}, func(t *testing.T, f *fixture) {
		var hints []string
		req := f.request(http.MethodGet, "/", http.NoBody)
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
				hints = append(hints, strconv.Itoa(code)+" "+header.Get("Link"))
				return nil
			},
		}))
		if r := f.do(req); r.StatusCode != 200 || !slices.Equal(hints, []string{"103 </a>"}) {
			t.Errorf("got %d, hints %q", r.StatusCode, hints)
		}
	})
}
