package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseHashKey(t *testing.T) {
	for text, want := range map[string]HashKey{
		"client_ip":     {},
		"path":          {Source: HashPath},
		"host":          {Source: HashHost},
		"header:X-User": {HashHeader, "X-User"},
		"cookie:sid":    {HashCookie, "sid"},
		"query:a b=c":   {HashQuery, "a b=c"},
		"query:a:b":     {HashQuery, "a:b"},
	} {
		if got, err := ParseHashKey(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "clientip", "header", "header:", "header:a b", "cookie:a=b", "path:x", "body:x", ":",
	} {
		if got, err := ParseHashKey(text); err == nil {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

func FuzzParseHashKey(f *testing.F) {
	for _, s := range []string{"client_ip", "header:X", "cookie:", "query:=", ":", "path"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseHashKey(text)
		if named := k.Source >= HashHeader; named != (k.Name != "") || named && !strings.HasSuffix(text, ":"+k.Name) {
			t.Errorf("%q: got %v, %v", text, k, err)
		}
		if zero := k == (HashKey{}); zero != (err != nil || text == "client_ip") {
			t.Errorf("%q: got %v, %v", text, k, err)
		}
	})
}

// A secret of the defaults, in a file, is that of the services that say no other.
func TestStickySecretOfTheDefaults(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := mustLoad(t, "defaults: {sticky: {cookie: c, secret_file: "+file+"}}\nservices: {a: {timeout: 1s}, "+
		"b: {sticky: {secret: another secret of b}}, c: {sticky: {cookie: \"\"}}}", Options{})
	for name, want := range map[string]string{
		"a": "0123456789abcdef", "b": "another secret of b", "c": "0123456789abcdef",
	} {
		if got := cfg.Services[name].Sticky.Secret; got != want {
			t.Errorf("%s: got %q", name, got)
		}
	}
	if got := cfg.Services["c"].Sticky.Cookie; got != "" {
		t.Errorf("c is sticky by %q", got)
	}
	if got := cfg.Warnings(); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}

func TestWarnings(t *testing.T) {
	for content, want := range map[string][]string{
		"": nil,
		"defaults: {sticky: {cookie: c}}\nservices: {a: {timeout: 1s}}": {"defaults"},
		"services: {b: {sticky: {cookie: c}}, a: {sticky: {cookie: c}}, c: {sticky: {secret: 0123456789abcdef}}}": {
			"services.a", "services.b",
		},
		"defaults: {sticky: {cookie: c}}\nservices: {a: {sticky: {cookie: d}}}": {"defaults", "services.a"},
	} {
		var got []string
		for _, w := range mustLoad(t, content, Options{}).Warnings() {
			where, text, _ := strings.Cut(w, ": ")
			got = append(got, where)
			if !strings.Contains(text, "secret") {
				t.Errorf("%q: got %q", content, w)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", content, got, want)
		}
	}
}
