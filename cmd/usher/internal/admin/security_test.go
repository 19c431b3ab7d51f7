package admin

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/events"
)

const secret = "0123456789-the-token"

// A name that is not usher's is refused, whatever is asked: DNS may have led a page here.
func TestWrongHost(t *testing.T) {
	t.Parallel()
	h := newHouse()
	h.access = Access{Hosts: []string{"ops.example.com", "other.example.com:9900"}}
	s := h.start(t, "127.0.0.1:0", &events.Log{})
	for host, known := range map[string]bool{
		s.Address().String(): true, "127.0.0.1": true, "127.0.0.1:1": true, "localhost": true, "LOCALHOST:9900": true,
		"localhost.": true, "[::1]:9900": true, "127.9.9.9": true, "ops.example.com": true, "OPS.example.com:1": true,
		"ops.example.com.": true, "other.example.com:9900": true,
		"evil.example.com": false, "other.example.com": false, "other.example.com:1": false, "10.0.0.1": false,
		"169.254.169.254": false, "127.0.0.1.evil.example.com": false, "localhost.evil.example.com": false,
		"evil-localhost": false, "x.localhost": false, "0.0.0.0": false, "[::]": false, "[::2]:9900": false,
		"xops.example.com": false, "2130706433": false, "0x7f.1": false,
	} {
		for _, path := range []string{"/api/v1/routes", "/livez", "/readyz", "/metrics", "/", "/api/v1/nothing"} {
			resp, body := ask(t, s, http.MethodGet, path, "Host", host)
			if refused := resp.StatusCode == http.StatusMisdirectedRequest; refused == known {
				t.Errorf("%s of host %q: %s %s", path, host, resp.Status, body)
			}
		}
		resp, _ := ask(t, s, http.MethodPost, "/api/v1/drain", "Host", host)
		if (resp.StatusCode == http.StatusOK) != known {
			t.Errorf("a POST to host %q: %s", host, resp.Status)
		}
	}
}

// What a page of another site sends is refused, and does nothing.
func TestCrossSite(t *testing.T) {
	t.Parallel()
	h := newHouse()
	s := h.start(t, "127.0.0.1:0", &events.Log{})
	own := "http://" + s.Address().String()
	posts := []string{"/api/v1/reload", "/api/v1/drain", "/api/v1/undrain", "/api/v1/holds/x/release"}
	for name, fields := range map[string][]string{
		"another site":                     {"Sec-Fetch-Site", "cross-site"},
		"another site, by its own address": {"Sec-Fetch-Site", "cross-site", "Origin", own},
		"a sister site":                    {"Sec-Fetch-Site", "same-site"},
		"another origin, in an old client": {"Origin", "https://evil.example.com"},
		"another port":                     {"Origin", "http://127.0.0.1:1"},
		"no origin":                        {"Origin", "null"},
		"a navigation":                     {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"},
	} {
		for _, path := range posts {
			if resp, body := ask(t, s, http.MethodPost, path, fields...); resp.StatusCode != http.StatusForbidden {
				t.Errorf("POST %s of %s: %s %s", path, name, resp.Status, body)
			}
		}
	}
	for _, mode := range []string{"cors", "no-cors", ""} {
		resp, _ := ask(t, s, http.MethodGet, "/api/v1/routes", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", mode)
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("GET of another site, %q: %s", mode, resp.Status)
		}
	}
	if done := h.done(); len(done) > 0 {
		t.Errorf("it did %q", done)
	}
	for _, fields := range [][]string{
		{}, {"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"}, {"Origin", own},
	} {
		if resp, body := ask(t, s, http.MethodPost, "/api/v1/drain", fields...); resp.StatusCode != http.StatusOK {
			t.Errorf("usher's own page, or no browser, %q: %s %s", fields, resp.Status, body)
		}
	}
	resp, _ := ask(t, s, http.MethodGet, "/readyz", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate")
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a link from another site: %s", resp.Status)
	}
}

// Without the token there is nothing but whether usher runs and is ready.
func TestToken(t *testing.T) {
	t.Parallel()
	h := newHouse()
	h.access = Access{Token: secret}
	s := h.start(t, "127.0.0.1:0", &events.Log{})
	paths := []string{"/metrics", "/debug/pprof/", "/api/v1/nothing", "/debug/pprof/heap"}
	for _, e := range allEndpoints(h, &events.Log{}) {
		if e.method == http.MethodGet {
			paths = append(paths, e.fullPath())
		}
	}
	for name, fields := range map[string][]string{
		"none":             {},
		"another":          {"Authorization", "Bearer " + secret + "x"},
		"a part":           {"Authorization", "Bearer " + secret[:5]},
		"an empty one":     {"Authorization", "Bearer "},
		"another scheme":   {"Authorization", "Basic " + secret},
		"no scheme":        {"Authorization", secret},
		"in another field": {"X-Token", secret},
	} {
		for _, path := range paths {
			resp, body := ask(t, s, http.MethodGet, path, fields...)
			asked := resp.Header.Get("WWW-Authenticate")
			if resp.StatusCode != http.StatusUnauthorized || asked != `Bearer realm="usher"` ||
				strings.Contains(body, secret) {
				t.Errorf("%s with %s: %s %v %s", path, name, resp.Status, resp.Header, body)
			}
		}
		resp, _ := ask(t, s, http.MethodPost, "/api/v1/drain", fields...)
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("a POST with %s: %s", name, resp.Status)
		}
		for _, path := range []string{"/livez", "/readyz?verbose"} {
			resp, body := ask(t, s, http.MethodGet, path, fields...)
			if resp.StatusCode == http.StatusUnauthorized || strings.Contains(body, "secrets") {
				t.Errorf("%s with %s: %s %s", path, name, resp.Status, body)
			}
		}
	}
	if done := h.done(); len(done) > 0 {
		t.Errorf("it did %q", done)
	}
	for _, scheme := range []string{"Bearer ", "bearer ", "BEARER  "} {
		resp, _ := ask(t, s, http.MethodGet, "/api/v1/routes", "Authorization", scheme+secret)
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%q: %s", scheme, resp.Status)
		}
	}
	_, body := ask(t, s, http.MethodGet, "/readyz?verbose", "Authorization", "Bearer "+secret)
	if !strings.Contains(body, "secrets of the house") {
		t.Errorf("readyz says %q to one with the token", body)
	}
}

// The dashboard's files may be had without the token, and by reading alone.
func TestDashboard(t *testing.T) {
	t.Parallel()
	h := newHouse()
	h.access = Access{Token: secret}
	handler := Handler(Options{
		State: h, API: h, Events: &events.Log{}, Metrics: http.NotFoundHandler(),
		Dashboard: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Security-Policy", "default-src 'self'")
			w.WriteHeader(http.StatusTeapot)
		}),
	})
	for ask, want := range map[string]int{
		"GET /": http.StatusTeapot, "HEAD /": http.StatusTeapot, "GET /app.js": http.StatusTeapot,
		"POST /": http.StatusNotFound, "DELETE /app.js": http.StatusNotFound,
		"GET /api": http.StatusUnauthorized, "GET /api/": http.StatusUnauthorized,
		"GET /api/v1/routes": http.StatusUnauthorized,
	} {
		method, path, _ := strings.Cut(ask, " ")
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, path, nil)
		r.Host = "localhost"
		handler.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: %d %s", ask, w.Code, w.Body)
		}
		policy := w.Header().Get("Content-Security-Policy")
		if (policy == "default-src 'self'") != (want == http.StatusTeapot) {
			t.Errorf("%s: %s", ask, policy)
		}
	}
}

// A listener that may be open to a network tells no more than it must, and to everybody.
func TestTelemetry(t *testing.T) {
	t.Parallel()
	h := newHouse()
	h.access = Access{Token: secret}
	handler := h.handler(nil, true)
	get := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, path, nil)
		r.Host = "anything.example.com"
		handler.ServeHTTP(w, r)
		return w
	}
	for _, e := range allEndpoints(h, &events.Log{}) {
		if w := get(e.method, e.fullPath()); w.Code != http.StatusNotFound {
			t.Errorf("%s %s: %d", e.method, e.path, w.Code)
		}
	}
	for path, want := range map[string]int{
		"/livez": http.StatusOK, "/readyz": http.StatusServiceUnavailable, "/metrics": http.StatusOK,
		"/debug/pprof/": http.StatusNotFound, "/": http.StatusNotFound,
	} {
		if w := get(http.MethodGet, path); w.Code != want {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	w := get(http.MethodPost, "/metrics")
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("a POST: %d %v", w.Code, w.Header())
	}
	if len(h.done()) > 0 {
		t.Errorf("it did %q", h.done())
	}
}

// What there is not is told in JSON, and a method in vain with those that there are.
func TestUnknown(t *testing.T) {
	t.Parallel()
	h := newHouse()
	s := h.start(t, "127.0.0.1:0", &events.Log{})
	for ask1, want := range map[string]string{
		"GET /api/v1/nothing": "404 ", "GET /api": "404 ", "GET /nothing": "404 ", "GET /": "404 ", "POST /": "404 ",
		"POST /api/v1/routes": "405 GET, HEAD", "DELETE /api/v1/holds/a/release": "405 POST",
		"GET /api/v1/drain":   "405 POST",
		"HEAD /api/v1/reload": "405 POST", "PUT /livez": "405 GET, HEAD", "OPTIONS /api/v1/drain": "405 POST",
		"MADEUP /api/v1/catalog": "405 GET, HEAD", "POST /debug/pprof/": "405 GET, HEAD",
	} {
		method, path, _ := strings.Cut(ask1, " ")
		resp, body := ask(t, s, method, path)
		if got := resp.Status[:4] + resp.Header.Get("Allow"); got != want {
			t.Errorf("%s: %s, want %s", ask1, got, want)
		}
		var why api.Error
		if method != http.MethodHead && (json.Unmarshal([]byte(body), &why) != nil || why.Error == "") {
			t.Errorf("%s: %s", ask1, body)
		}
		for name, value := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
			"X-Content-Type-Options":  "nosniff", "X-Frame-Options": "DENY",
			"Cache-Control": "no-store", "Content-Type": "application/json",
		} {
			if resp.Header.Get(name) != value {
				t.Errorf("%s: %s is %q", ask1, name, resp.Header.Get(name))
			}
		}
	}
	for what, want := range map[string]int{
		"/ Not Found": 3, "/api/ Not Found": 2, "/api/ Method Not Allowed": 6, "/ Method Not Allowed": 2,
	} {
		if got := h.counted(what); got != want {
			t.Errorf("%s: counted %d times, want %d: %v", what, got, want, h.asked)
		}
	}
}

// FuzzGuard: no request makes it panic, nothing of it becomes a label, and without the token
// nothing is done.
func FuzzGuard(f *testing.F) {
	f.Add("GET", "/api/v1/catalog?wait=1ns&service=a&usable=1", "localhost", "If-None-Match", `"x-gzip"`, "")
	f.Add("POST", "/api/v1/drain", "[::1]:80", "Origin", "http://a", "{}")
	f.Add("GET", "/api/v1/events?since=1", "127.0.0.1", "Last-Event-ID", "2", "")
	f.Add("GET", "/../api//v1/services/%2f", "[::1", "Accept-Encoding", "gzip;q=0,*;q=x", "x")
	f.Add("CONNECT", "/api/v1/http_sd", "a:b:c", "Authorization", "Bearer x", "")
	f.Fuzz(func(t *testing.T, method, target, host, name, value, body string) {
		h := newHouse()
		h.access = Access{Token: secret, Hosts: []string{"ops.example.com"}}
		h.serves(api.CatalogService{Name: "a", Instances: []api.CatalogInstance{
			{ID: "1", Address: "h:1", Meta: map[string]string{name: value}},
		}})
		known := map[string]bool{rest: true, unknownAPI: true, "/livez": true, "/readyz": true, "/metrics": true}
		for _, e := range allEndpoints(h, &events.Log{}) {
			known[e.fullPath()] = true
		}
		r, err := http.NewRequestWithContext(t.Context(), method, target, bytes.NewReader([]byte(body)))
		if err != nil || r.URL.Path == "" || name == "Accept" {
			return // net/http would not have let it through; a stream has no end
		}
		if _, wait, err := catalogQueryOf(r); err == nil && wait > time.Millisecond {
			return // it may be waited for
		}
		r.Host = host
		r.Header.Set(name, value)
		for _, token := range []string{"", secret} {
			if token != "" {
				r.Header.Set("Authorization", "Bearer "+token)
			}
			h.handler(&events.Log{}, false).ServeHTTP(httptest.NewRecorder(), r)
			if token == "" && len(h.done()) > 0 {
				t.Errorf("it did %q", h.done())
			}
		}
		for what := range h.asked {
			if path, _, _ := strings.Cut(what, " "); !known[path] && !strings.HasPrefix(path, "/debug/pprof/") {
				t.Errorf("counted as %q", path)
			}
		}
	})
}

// What comes of a change is told by the status too.
func TestControl(t *testing.T) {
	t.Parallel()
	h := newHouse()
	s := h.start(t, "127.0.0.1:0", &events.Log{})
	for path, want := range map[string]string{
		"/api/v1/reload": `"hash"`, "/api/v1/drain": `{"draining":true}`, "/api/v1/undrain": `{"draining":false}`,
		"/api/v1/holds/a@b/release": `{"released":1}`,
	} {
		resp, body := ask(t, s, http.MethodPost, path)
		if resp.StatusCode != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
	}
	h.fails = errRefused
	resp, body := ask(t, s, http.MethodPost, "/api/v1/reload")
	if resp.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(body, errRefused.Error()) {
		t.Errorf("refused: %s %s", resp.Status, body)
	}
	h.fails = http.ErrServerClosed
	for _, path := range []string{"/api/v1/reload", "/api/v1/drain", "/api/v1/undrain"} {
		if resp, body := ask(t, s, http.MethodPost, path); resp.StatusCode != http.StatusConflict {
			t.Errorf("while usher stops, %s: %s %s", path, resp.Status, body)
		}
	}
}
