package admin

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/events"
)

func instances(usable ...bool) (out []api.CatalogInstance) {
	for i, yes := range usable {
		id := string(rune('a' + i))
		out = append(out, api.CatalogInstance{ID: id, Address: "10.0.0." + string(rune('1'+i)) + ":80", Usable: yes})
	}
	return out
}

func shop(usable ...bool) api.CatalogService {
	return api.CatalogService{Name: "shop", Registry: "one", Instances: instances(usable...)}
}

// The same answer has the same ETag, another one another; what is asked for decides what an
// answer is.
func TestCatalogETag(t *testing.T) {
	t.Parallel()
	h := newHouse()
	s := h.start(t, "127.0.0.1:0", &events.Log{})
	api1 := api.CatalogService{Name: "api", Registry: "one", Instances: instances(true)}
	two := api.CatalogService{Name: "shop", Registry: "two", Instances: instances(true)}
	h.serves(api1, shop(true, false), two)
	get := func(query string, fields ...string) (tag string, code int, names []string, instances int) {
		resp, body := ask(t, s, http.MethodGet, "/api/v1/catalog"+query, fields...)
		var c api.Catalog
		if resp.StatusCode == http.StatusOK {
			if err := json.Unmarshal([]byte(body), &c); err != nil || c.Services == nil {
				t.Errorf("%s: %s", query, body)
			}
		} else if body != "" {
			t.Errorf("%s: %s %s", query, resp.Status, body)
		}
		for _, s := range c.Services {
			names = append(names, s.Name+"@"+s.Registry)
			instances += len(s.Instances)
		}
		if resp.Header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: %v", query, resp.Header)
		}
		return resp.Header.Get("ETag"), resp.StatusCode, names, instances
	}
	tags := map[string]string{}
	for query, want := range map[string]struct {
		services  string
		instances int
	}{
		"":                            {"api@one shop@one shop@two", 4},
		"?usable=1":                   {"api@one shop@one shop@two", 3},
		"?service=shop":               {"shop@one shop@two", 3},
		"?service=shop@one":           {"shop@one", 2},
		"?service=shop@one&usable=1":  {"shop@one", 1},
		"?service=nobody":             {"", 0},
		"?service=api&usable=0":       {"api@one", 1},
		"?usable=true&service=api":    {"api@one", 1},
		"?service=shop@three&wait=1h": {"", 0},
	} {
		tag, code, names, n := get(query)
		if code != http.StatusOK || strings.Join(names, " ") != want.services || n != want.instances {
			t.Errorf("%s: %d %q, %d instances", query, code, names, n)
		}
		if !regexp.MustCompile(`^"[0-9a-f]{32}"$`).MatchString(tag) {
			t.Errorf("%s: ETag %s", query, tag)
		}
		tags[query] = tag
		for _, known := range []string{tag, "*", `"x", ` + tag, "W/" + tag, strings.TrimSuffix(tag, `"`) + `-gzip"`} {
			if query == "?service=shop@three&wait=1h" {
				continue
			}
			if same, code, _, _ := get(query, "If-None-Match", known); code != http.StatusNotModified || same != tag {
				t.Errorf("%s, with %s: %d %s", query, known, code, same)
			}
		}
		if _, code, _, _ := get(query, "If-None-Match", `"x-gzip"`); code != http.StatusOK {
			t.Errorf("%s, with another: %d", query, code)
		}
	}
	h.serves(api1, shop(true, true), two)
	for query, before := range tags {
		tag, _, _, _ := get(query)
		if changes := !strings.Contains(query, "api") && !strings.Contains(query, "nobody") &&
			!strings.Contains(query, "three"); (tag != before) != changes {
			t.Errorf("%s: from %s to %s", query, before, tag)
		}
	}
	for _, query := range []string{"?usable=perhaps", "?wait=long", "?wait=-1s"} {
		if resp, body := ask(t, s, http.MethodGet, "/api/v1/catalog"+query); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s %s", query, resp.Status, body)
		}
	}
}

// Who waits is told of what it asked for as soon as that differs, of nothing at the end of
// its time, and at once when usher stops.
func TestLongPoll(t *testing.T) {
	t.Parallel()
	h := newHouse()
	s := h.start(t, "127.0.0.1:0", &events.Log{})
	h.serves(shop(true, true))
	resp, _ := ask(t, s, http.MethodGet, "/api/v1/catalog?service=shop")
	tag := resp.Header.Get("ETag")
	poll := func(wait string) <-chan *reply {
		out := make(chan *reply, 1)
		go func() {
			resp, _ := ask(t, s, http.MethodGet, "/api/v1/catalog?service=shop&wait="+wait, "If-None-Match", tag)
			out <- resp
		}()
		return out
	}
	begin := time.Now()
	if resp := <-poll("30ms"); resp.StatusCode != http.StatusNotModified || time.Since(begin) < 30*time.Millisecond {
		t.Errorf("without a change: %s after %s", resp.Status, time.Since(begin))
	}
	waiting := poll("1m")
	h.serves(shop(true, true), api.CatalogService{Name: "other", Registry: "one"}) // of no interest
	select {
	case resp := <-waiting:
		t.Errorf("after a change of another service: %s", resp.Status)
	case <-time.After(30 * time.Millisecond):
	}
	h.serves(shop(true, false))
	resp = <-waiting
	if resp.StatusCode != http.StatusOK || resp.Header.Get("ETag") == tag {
		t.Errorf("after a change: %s %v", resp.Status, resp.Header)
	}
	tag = resp.Header.Get("ETag")
	waiting = poll("1m")
	eventually(t, "it waits", func() bool {
		free := s.handling.TryLock()
		if free {
			s.handling.Unlock()
		}
		return !free
	})
	if err := s.Listen(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if resp := <-waiting; resp.StatusCode != http.StatusNotModified {
		t.Errorf("at the end: %s", resp.Status)
	}
}

// What is sent is what Prometheus reads: targets that are addresses, labels that may be
// called so.
func TestTargets(t *testing.T) {
	t.Parallel()
	h := newHouse()
	s := h.start(t, "127.0.0.1:0", &events.Log{})
	_, body := ask(t, s, http.MethodGet, "/api/v1/http_sd")
	if body != "[]" {
		t.Errorf("without services: %s", body)
	}
	h.serves(api.CatalogService{Name: "shop", Registry: "one", Routed: true, Instances: []api.CatalogInstance{{
		ID: "a", Address: "10.0.0.1:80", Usable: true, Status: "passing", State: "healthy", Zone: "z1",
		Datacenter: "dc1", Tags: []string{"x", "y=1"}, Meta: map[string]string{"metrics-port": "9", "1é": "\xff"},
	}, {ID: "b", Address: "[::1]:80"}, {ID: "none", Address: "nowhere"}}})
	resp, body := ask(t, s, http.MethodGet, "/api/v1/http_sd?service=shop@one")
	var groups []struct {
		Targets []string
		Labels  map[string]string
	}
	if err := json.Unmarshal([]byte(body), &groups); err != nil || len(groups) != 2 {
		t.Fatalf("%s %s", resp.Status, body)
	}
	name := regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	for _, g := range groups {
		for _, target := range g.Targets {
			if _, err := netip.ParseAddrPort(target); err != nil {
				t.Errorf("target %q: %v", target, err)
			}
		}
		for label := range g.Labels {
			if !name.MatchString(label) || !strings.HasPrefix(label, "__meta_usher_") {
				t.Errorf("label %q", label)
			}
		}
	}
	for label, want := range map[string]string{
		"service": "shop", "registry": "one", "routed": "true", "instance": "a", "status": "passing",
		"state": "healthy", "usable": "true", "held": "false", "datacenter": "dc1", "zone": "z1", "tags": ",x,y=1,",
		"meta_metrics_port": "9", "meta_1_": "\uFFFD",
	} {
		if got := groups[0].Labels["__meta_usher_"+label]; got != want {
			t.Errorf("%s: got %q", label, got)
		}
	}
	if _, body := ask(t, s, http.MethodGet, "/api/v1/http_sd?service=nobody"); body != "[]" {
		t.Errorf("of nobody: %s", body)
	}
}

// A long answer is compressed for those who take it, and is another one then by its ETag.
func TestCompression(t *testing.T) {
	t.Parallel()
	h := newHouse()
	h.routes = 1000
	s := h.start(t, "127.0.0.1:0", &events.Log{})
	many := shop(slices.Repeat([]bool{true}, 9)...)
	h.serves(many, many)
	for accept, want := range map[string]bool{
		"gzip": true, "br, GZIP;q=0.5": true, "*": true, "x-gzip": true,
		"": false, "br": false, "gzip;q=0": false, "gzip;q=0.0, *": false, "*;q=0": false, "identity": false,
		"gzip;q=x": false,
	} {
		for _, path := range []string{"/api/v1/routes", "/api/v1/catalog"} {
			resp, body := ask(t, s, http.MethodGet, path, "Accept-Encoding", accept)
			got := resp.Header.Get("Content-Encoding") == "gzip"
			if got != want || resp.Header.Get("Vary") != "Accept-Encoding" {
				t.Errorf("%s, %q: %v", path, accept, resp.Header)
			}
			if tag := resp.Header.Get("ETag"); tag != "" && strings.HasSuffix(tag, `-gzip"`) != want {
				t.Errorf("%s, %q: ETag %s", path, accept, tag)
			}
			text := body
			if got {
				r, err := gzip.NewReader(strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				plain, err := io.ReadAll(r)
				if err != nil {
					t.Fatal(err)
				}
				text = string(plain)
			}
			if !json.Valid([]byte(text)) {
				t.Errorf("%s, %q: %d bytes are no JSON", path, accept, len(text))
			}
		}
		short, _ := ask(t, s, http.MethodGet, "/api/v1/services", "Accept-Encoding", accept)
		if short.Header.Get("Content-Encoding") != "" {
			t.Errorf("a short answer, %q: %v", accept, short.Header)
		}
	}
}
