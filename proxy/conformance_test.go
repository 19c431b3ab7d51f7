package proxy_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"usher/config"
	"usher/proxy/proxytest"
)

// transport is a way for clients to speak to usher. The suite below holds for each.
type transport struct {
	name string
	// listener changes the settings of the listener called web; nil: none.
	listener func(c *config.Listener)
	// scheme is that of the URLs, major the version that must be spoken; client returns what
	// sends the requests.
	scheme string
	major  int
	client func(t *testing.T) closableTripper
}

// closableTripper sends requests and forgets its connections.
type closableTripper interface {
	http.RoundTripper
	CloseIdleConnections()
}

var transports = []transport{{
	name: "http1", scheme: "http", major: 1,
	client: func(*testing.T) closableTripper {
		return &http.Transport{DisableCompression: true, ExpectContinueTimeout: proxytest.Patience}
	},
}, {
	name: "http1 over TLS", scheme: "https", major: 1,
	listener: func(c *config.Listener) { c.Protocol = "https" },
	client: func(t *testing.T) closableTripper {
		return &http.Transport{
			DisableCompression: true, ExpectContinueTimeout: proxytest.Patience,
			TLSClientConfig: proxytest.ClientTLS(t, "http/1.1"),
		}
	},
}, {
	name: "http2", scheme: "https", major: 2,
	listener: func(c *config.Listener) { c.Protocol = "https" },
	client: func(t *testing.T) closableTripper {
		c := http2Client((*http.Protocols).SetHTTP2)
		c.TLSClientConfig = proxytest.ClientTLS(t, "h2")
		return c
	},
}, {
	name: "http2 without TLS", scheme: "http", major: 2,
	listener: func(c *config.Listener) { c.H2C = true },
	client:   func(*testing.T) closableTripper { return http2Client((*http.Protocols).SetUnencryptedHTTP2) },
}}

// http2Client is a client that speaks HTTP/2 alone.
func http2Client(set func(*http.Protocols, bool)) *http.Transport {
	p := new(http.Protocols)
	set(p, true)
	return &http.Transport{DisableCompression: true, ExpectContinueTimeout: proxytest.Patience, Protocols: p}
}

// fixture is an usher with what speaks to it.
type fixture struct {
	*proxytest.Usher
	t      *testing.T
	scheme string
	major  int
	client closableTripper
}

// conform runs f once for each transport.
func conform(t *testing.T, o proxytest.Options, f func(t *testing.T, f *fixture)) {
	t.Helper()
	t.Parallel()
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			o := o
			if len(o.Listeners) == 0 {
				o.Listeners = []config.Listener{{}}
			}
			o.Listeners = slices.Clone(o.Listeners)
			if tr.listener != nil {
				tr.listener(&o.Listeners[0])
			}
			u := proxytest.Start(t, o)
			c := tr.client(t)
			t.Cleanup(c.CloseIdleConnections)
			f(t, &fixture{Usher: u, t: t, scheme: tr.scheme, major: tr.major, client: c})
			u.Quiet()
		})
	}
}

// request makes a request for a target, which is sent byte for byte.
func (f *fixture) request(method, target string, body io.Reader) *http.Request {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), proxytest.Patience)
	f.t.Cleanup(cancel)
	u := &url.URL{Scheme: f.scheme, Host: f.Addr(), Opaque: target}
	if strings.HasPrefix(target, "//") { // which net/url would take for an authority
		path, query, _ := strings.Cut(target, "?")
		u = &url.URL{Scheme: f.scheme, Host: f.Addr(), Path: path, RawQuery: query}
	}
	req, err := http.NewRequestWithContext(ctx, method, f.scheme+"://"+f.Addr()+"/", body)
	if err != nil {
		f.t.Fatal(err)
	}
	req.URL, req.Host = u, "example.com"
	return req
}

// answer is a response read to its end; Err is what cut it.
type answer struct {
	*http.Response
	text string
	err  error
}

// do sends a request and reads the response to its end.
func (f *fixture) do(req *http.Request) *answer {
	f.t.Helper()
	resp, err := f.client.RoundTrip(req)
	if err != nil {
		f.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	if resp.ProtoMajor != f.major {
		f.t.Errorf("%s %s: answered in %s", req.Method, req.URL, resp.Proto)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return &answer{Response: resp, text: string(b), err: err}
}

func (f *fixture) get(target string) *answer {
	f.t.Helper()
	return f.do(f.request(http.MethodGet, target, http.NoBody))
}

// serve starts an origin that is a server of net/http.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections() // a handler may wait for a client that never comes
		s.Close()
	})
	return s.Listener.Addr().String()
}
