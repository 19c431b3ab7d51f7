package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestDecodeRouteIsLoad: an entry means what the same text means in the file.
func TestDecodeRouteIsLoad(t *testing.T) {
	for name, entry := range map[string]string{
		"least":      "{service: s}",
		"hosts":      "{service: s, match: {hosts: [Shop.Example.com, '*.X:8080'], methods: [GET], headers: {A: 1}}}",
		"any case":   "{service: s, match: {path_type: iprefix}}",
		"regex":      "{service: s, match: {path: '^/v[0-9]+', path_type: regex}}",
		"split":      "{split: [{service: a, weight: 95}, {service: b}]}",
		"everything": "{service: s, priority: -1, strip_prefix: /a, prepend_prefix: /b, host: h, match: {path: /a}}",
		"its name":   "{name: r, service: s}",
		"redirect":   "{redirect: {to: 'https://$host$path'}, strip_prefix: /a}",
		"respond":    "{respond: {status: 404, body: gone, headers: {A: b}}}",
		"policy":     "{service: s, timeout: 1s, total_timeout: 0, retry: {attempts: 0}}",
		"edits":      "{service: s, request_headers: {set: {A: $host}, remove: [B]}, response_headers: {add: {A: b}}}",
		"predicates": "{service: s, match: {query: {a: ''}, headers_regex: {A: ^b}}, rewrite: {path: ^/a, to: /b}}",
		"null":       "{service: s, match: ~, host: ~}",
		"anchors":    "{service: &s a, host: *s, match: {<<: {path: /x}, listeners: [web]}}",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := DecodeRoute("kv", "r", []byte(entry))
			if err != nil {
				t.Fatal(err)
			}
			inFile := "{name: r, " + strings.Replace(strings.TrimPrefix(entry, "{"), "name: r, ", "", 1)
			want := mustLoad(t, "routes: ["+inFile+"]", Options{}).Routes[0]
			if want.Pos = (Pos{"kv", 1, 1}); !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestDecodeServiceIsLoad(t *testing.T) {
	const defaults = "defaults: {timeout: 7s, retry: {attempts: 5}}\n"
	policy := mustLoad(t, defaults, Options{}).Defaults.Policy
	for name, entry := range map[string]string{
		"empty":   "{}",
		"some":    "{timeout: 1s, balance: round_robin}",
		"nested":  "{retry: {attempts: 0}}",
		"not set": "{timeout: ~, retry: {}}",
	} {
		got, err := DecodeService("kv", []byte(entry), policy)
		want := mustLoad(t, defaults+"services: {s: "+entry+"}", Options{}).Services["s"]
		if want.Pos = (Pos{"kv", 1, 1}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v\nwant %+v", name, got, err, want)
		}
	}
	for _, entry := range []string{"", "# nothing yet\n", "~", "---\n...\n"} {
		got, err := DecodeService("kv", []byte(entry), policy)
		if err != nil || !reflect.DeepEqual(got, Service{Policy: policy, Pos: Pos{"kv", 1, 1}}) {
			t.Errorf("%q: got %+v, %v", entry, got, err)
		}
	}
}

func TestDecodeProblems(t *testing.T) {
	route, service := routeErr, serviceErr
	large := "service: s # " + strings.Repeat("x", maxEntrySize)
	for name, tt := range map[string]struct {
		decode func(data string) error
		data   string
		want   string
	}{
		"all at once": {
			route, "servce: s\nmatch:\n  hosts: [http://a]\n  path: a\n  path_type: perfix\npriority: high\n",
			`kv:1:1: unknown key "servce", did you mean "service"?
kv:3:11: host "http://a" has a scheme: write the name alone
kv:5:14: unknown path_type "perfix", did you mean "prefix"?
kv:6:11: expected a whole number, found "high"`,
		},
		"empty route":  {route, "", `kv:1:1: route "r" has neither service nor split, redirect or respond`},
		"another name": {route, "name: q\nservice: s", `kv:1:7: route name "q" differs from that of its key, "r"`},
		"empty name":   {route, "name: ''\nservice: s", `kv:1:7: route name "" differs from that of its key, "r"`},
		"no service":   {route, "match: {}", `kv:1:1: route "r" has neither service nor split, redirect or respond`},
		"no registry":  {route, "service: s@", `kv:1:10: service "s@" has no registry after the @`},
		"no listener":  {route, "{service: s, match: {listeners: ['']}}", `kv:1:34: listener name is empty`},
		"no include":   {route, "include: a\nservice: s", `kv:1:1: unknown key "include"`},
		"no secret":    {route, "host_file: a\nservice: s", `kv:1:1: unknown key "host_file"`},
		"no body_file": {
			route, "respond: {body_file: /etc/passwd}", "kv:1:22: an entry of a key-value store cannot name a file",
		},
		"no error_pages": {
			route, "service: s\nerror_pages: {5xx: a}", "kv:2:20: an entry of a key-value store cannot name a file",
		},
		"no secret_file": {
			service, "sticky: {cookie: a, secret_file: /etc/passwd}",
			"kv:1:34: an entry of a key-value store cannot name a file",
		},
		"no connect": {
			service, "upstream: {connect: false}",
			"kv:1:21: an entry of a key-value store cannot say whether the mesh is used",
		},
		"a list":    {route, "- service: s", "kv:1:1: expected a map, found a list"},
		"text":      {route, "hello", `kv:1:1: expected a map, found "hello"`},
		"not YAML":  {route, "service: s\nmatch: *m\n", "kv:2: not valid YAML: unknown anchor 'm' referenced"},
		"two":       {route, "service: s\n---\nservice: t", "kv:2:1: a second YAML document: a file holds one"},
		"large":     {route, large, "kv: larger than 512KiB"},
		"large too": {service, large, "kv: larger than 512KiB"},
		"a service": {service, "balance: best\ntimeuot: 1s\nretry: {attempts: 99}", `kv:1:10: unknown balance ` +
			`"best", expected one of least_request, round_robin, random, ewma, maglev, ring_hash
kv:2:1: unknown key "timeuot", did you mean "timeout"?
kv:3:19: attempts must be from 0 to 10, found 99`},
		"not a service": {service, "[]", "kv:1:1: expected a map, found a list"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.decode(tt.data)
			if _, ok := errors.AsType[Errors](err); !ok || err.Error() != tt.want {
				t.Errorf("got\n%v\nwant\n%s", err, tt.want)
			}
		})
	}
}

func routeErr(data string) error {
	_, err := DecodeRoute("kv", "r", []byte(data))
	return err
}

func serviceErr(data string) error {
	_, err := DecodeService("kv", []byte(data), Policy{})
	return err
}

func TestDecodeRouteName(t *testing.T) {
	for name, want := range map[string]string{
		"":    "kv:1:1: route name is empty",
		"a b": `kv:1:1: route name "a b" contains a space or a control character`,
	} {
		if _, err := DecodeRoute("kv", name, []byte("service: s")); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", name, err, want)
		}
	}
}

// TestDecodeRouteKnowsNoNames: the listeners and registries of the configuration are
// another's to check.
func TestDecodeRouteKnowsNoNames(t *testing.T) {
	r, err := DecodeRoute("kv", "r", []byte("{service: s@far, match: {listeners: [internal]}}"))
	if err != nil || r.Service != "s@far" || r.Match.Listeners[0] != "internal" {
		t.Errorf("got %+v, %v", r, err)
	}
	r, err = DecodeRoute("kv", "r", []byte("\n\nsplit:\n  - service: s@far\n"))
	if err != nil || r.Split[0] != (Arm{"s@far", 1}) || r.Pos != (Pos{"kv", 3, 1}) {
		t.Errorf("got %+v, %v", r, err)
	}
}

// TestDecodeExpandsNothing: who may write a key must not read usher's environment.
func TestDecodeExpandsNothing(t *testing.T) {
	t.Setenv("USHER_TEST_SECRET", "leaked")
	const text = "${USHER_TEST_SECRET}"
	r, err := DecodeRoute("kv", "r", []byte("service: "+text+"\nmatch: {headers: {A: '$"+text+"', B: '${'}}"))
	if err != nil || r.Service != text || r.Match.Headers["A"] != "$"+text || r.Match.Headers["B"] != "${" {
		t.Errorf("got %+v, %v", r, err)
	}
}

// TestEntriesNameNoFiles: neither struct has a key whose value is a path.
func TestEntriesNameNoFiles(t *testing.T) {
	for _, typ := range []reflect.Type{
		reflect.TypeFor[Route](), reflect.TypeFor[Match](), reflect.TypeFor[Arm](),
		reflect.TypeFor[Service](), reflect.TypeFor[Retry](),
	} {
		for _, f := range planOf(typ).fields {
			if f.path || f.secret != nil {
				t.Errorf("%s: key %q reads a file", typ, f.key)
			}
		}
	}
}

func TestDecodeKeepsNoData(t *testing.T) {
	data := []byte("service: shop\nmatch: {hosts: [Shop.example]}")
	r, err := DecodeRoute("kv", "r", data)
	if err != nil {
		t.Fatal(err)
	}
	copy(data, bytes.Repeat([]byte("x"), len(data)))
	if r.Service != "shop" || r.Match.Hosts[0] != "shop.example" {
		t.Errorf("got %+v", r)
	}
}

// FuzzDecodeEntry: no entry makes the decoders panic; what one accepts it accepts
// again, equal, and what it refuses comes to nothing but Errors.
func FuzzDecodeEntry(f *testing.F) {
	for _, s := range []string{
		"", "~", "service: s", "{split: [{service: a, weight: 1}]}", "name: r\nservice: s@x", "service: ${A}",
		"match: {hosts: [A], path_type: iprefix}\nservice: s", "{timeout: 5s, retry: {attempts: 1}}",
		"match: &m {hosts: *m}", "<<: [{service: a}, {host: b}]", "service: s\n---\n", "[", "\x00", "&a [*a]",
	} {
		f.Add("r", []byte(s))
	}
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add("r", data)
	}
	policy := Policy{Balance: "round_robin", ConnectTimeout: time.Second}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		route := func() (Route, error) { return DecodeRoute("kv", name, data) }
		if r, ok := decodeTwice(t, route); ok && (r.Name != name || r.Pos.File != "kv") {
			t.Errorf("%q became %+v", name, r)
		}
		decodeTwice(t, func() (Service, error) { return DecodeService("kv", data, policy) })
	})
}

func decodeTwice[T any](t *testing.T, decode func() (T, error)) (first T, ok bool) {
	t.Helper()
	first, err := decode()
	second, err2 := decode()
	if !reflect.DeepEqual(first, second) || !reflect.DeepEqual(err, err2) {
		t.Errorf("first %+v, %v\nthen %+v, %v", first, err, second, err2)
	}
	if err == nil {
		return first, true
	}
	if list, ok := errors.AsType[Errors](err); !ok || len(list) == 0 || !reflect.ValueOf(first).IsZero() {
		t.Errorf("got %+v with the error %#v", first, err)
	}
	return first, false
}
