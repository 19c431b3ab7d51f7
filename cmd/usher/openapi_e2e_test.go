package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// The answers of a running usher, held against the description that it gives of them.

// described is that description, made strict: nothing may be answered that it does not name.
type described struct {
	t        *testing.T
	u        *usher
	doc      map[string]any
	compiler *jsonschema.Compiler
}

func newDescribed(t *testing.T, u *usher) *described {
	t.Helper()
	d := &described{t: t, u: u, compiler: jsonschema.NewCompiler()}
	if code := u.api(http.MethodGet, "openapi.json", &d.doc); code != http.StatusOK {
		t.Fatalf("openapi.json: %d", code)
	}
	for _, schema := range at(d.doc, "components", "schemas").(map[string]any) {
		schema.(map[string]any)["additionalProperties"] = false
	}
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource("https://usher/api", d.doc); err != nil {
		t.Fatal(err)
	}
	return d
}

// at follows keys into a document.
func at(v any, keys ...string) any {
	for _, key := range keys {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

// pointer is the place of an answer's schema in the document.
func (d *described) pointer(method, path, status, kind string) string {
	answers := at(d.doc, "paths", path, strings.ToLower(method), "responses")
	if at(answers, status) == nil {
		status = "default"
	}
	if at(answers, status, "content", kind) == nil {
		return ""
	}
	escape := func(s string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(s) }
	return "https://usher/api#/paths/" + escape(path) + "/" + strings.ToLower(method) + "/responses/" + status +
		"/content/" + escape(kind) + "/schema"
}

// asks makes a request of a described endpoint and validates what is answered.
func (d *described) asks(method, path string, fill map[string]string, query, body string) (status int, answer []byte) {
	d.t.Helper()
	target := path
	for name, value := range fill {
		target = strings.ReplaceAll(target, "{"+name+"}", value)
	}
	req, err := http.NewRequest(method, d.u.admin+target+query, bytes.NewReader([]byte(body)))
	if err != nil {
		d.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	what := fmt.Sprintf("%s %s%s: %s", method, target, query, resp.Status)
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	at := d.pointer(method, path, fmt.Sprint(resp.StatusCode), kind)
	if at == "" {
		d.t.Errorf("%s: an answer of %q is not described", what, kind)
		return resp.StatusCode, answer
	}
	if kind != "application/json" {
		return resp.StatusCode, answer
	}
	schema, err := d.compiler.Compile(at)
	if err != nil {
		d.t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(answer))
	if err == nil {
		err = schema.Validate(value)
	}
	if err != nil {
		d.t.Errorf("%s: %v\n%.2000s", what, err, answer)
	}
	return resp.StatusCode, answer
}

// posts are what is sent to the endpoints that change something, in the order of their
// paths; an endpoint that is not among them is not tested, which is a failure.
func posts() map[string]string {
	return map[string]string{
		"/api/v1/drain": "", "/api/v1/undrain": "", "/api/v1/reload": "", "/api/v1/holds/{service}/release": "",
		"/api/v1/generations/{number}/pin": "", "/api/v1/generations/unpin": "",
	}
}

// Every endpoint answers what its description says, when it does what it is asked and when
// it does not.
func TestAnswersFitTheirDescription(t *testing.T) {
	t.Parallel()
	b := newBackend(t, "b", nil)
	u := launch(t, withFile+`
telemetry: {address: "127.0.0.1:0"}
services: {dead: {health_check: {type: tcp, interval: 1s}}}
routes:
  - {name: first, match: {hosts: [first.test], methods: [GET], headers: {X-A: "1"}, query: {q: ""}}, service: s}
  - {name: split, match: {hosts: [split.test]}, split: [{service: s, weight: 9}, {service: nobody, weight: 1}]}
  - {name: own, match: {hosts: [own.test]}, respond: {status: 204}}
  - {name: over, match: {hosts: [s.test]}, service: s}
`)
	writeFile(t, u.dir+"/services.yaml", fmt.Sprintf(`services:
  - {name: s, routes: ["s.test/", "bad[.test/"], instances: [{address: %q, tags: [a], meta: {v: "1"}}]}
  - name: dead
    routes: ["dead.test/"]
    instances: [{address: "127.0.0.1:1"}, {address: "127.0.0.1:2", status: critical}]
  - {name: silent, routes: [], instances: [{address: "127.0.0.1:3"}]}
`, b.address()))
	u.waitLog(`"msg":"services"`)
	u.waitStatus("s.test", http.StatusOK)
	u.waitStatus("none.test", http.StatusNotFound)
	u.waitMetricAbove("usher_health_checks_total", 2)
	u.write(withFile + "nonsense: 1\n")
	u.waitLog("configuration refused")
	d := newDescribed(t, u)
	eventually(t, patience, "there is a point of traffic", func() bool {
		var traffic struct{ Points []any }
		u.api(http.MethodGet, "traffic", &traffic)
		return len(traffic.Points) > 0
	})
	paths, _ := d.doc["paths"].(map[string]any)
	number := strconv.FormatUint(u.generations().Current, 10)
	fill := map[string]string{"name": "dead", "service": "dead", "number": number}
	tested := 0
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		for method := range paths[path].(map[string]any) {
			tested++
			if method == "get" {
				d.asks(http.MethodGet, path, fill, "", "")
				nobody := map[string]string{"name": "no%2Fbody", "service": "-"}
				d.asks(http.MethodGet, path, nobody, "?since=x&wait=x", "")
				continue
			}
			body, known := posts()[path]
			if !known {
				t.Errorf("%s %s is tested nowhere: say in posts how to ask it", method, path)
				continue
			}
			d.asks(http.MethodPost, path, fill, "", body)
			d.asks(http.MethodPost, path, map[string]string{"service": "nobody"}, "", body)
		}
	}
	if tested < 20 {
		t.Errorf("%d endpoints", tested)
	}
	d.asks(http.MethodGet, "/api/v1/catalog", nil, "?service=s&usable=1", "")
	d.asks(http.MethodGet, "/api/v1/events", nil, "?since=0", "")
	for path, query := range map[string]string{
		"/api/v1/explain":          "?url=http://s.test/x&header=X-A:+1",
		"/api/v1/generations/diff": "?from=" + number + "&to=" + number,
		"/api/v1/generations":      "?at=" + url.QueryEscape(time.Now().Format(time.RFC3339)),
	} {
		if code, answer := d.asks(http.MethodGet, path, nil, query, ""); code != http.StatusOK {
			t.Errorf("%s%s: %d %s", path, query, code, answer)
		}
	}
	u.write(withFile)
	if code, answer := d.asks(http.MethodPost, "/api/v1/reload", nil, "", ""); code != http.StatusOK {
		t.Errorf("reload: %d %s", code, answer)
	}
	var state json.RawMessage
	u.api(http.MethodGet, "config", &state)
	if bytes.Contains(state, []byte("refused")) {
		t.Errorf("after a good reload: %s", state)
	}
}
