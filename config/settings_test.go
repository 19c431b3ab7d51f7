package config

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// settingsOf loads content with an environment and returns its settings by path.
func settingsOf(t *testing.T, files map[string]string, opts Options) map[string]Setting {
	t.Helper()
	if opts.Env == nil {
		opts.Env = envOf(nil)
	}
	cfg, err := Load(writeFiles(t, files), opts)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]Setting{}
	for _, s := range cfg.Settings() {
		if _, twice := out[s.Path]; twice {
			t.Errorf("%s is there twice", s.Path)
		}
		if dir, base := filepath.Split(s.Origin); dir != "" {
			s.Origin = base // the folder is another one in each test
		}
		out[s.Path] = s
	}
	return out
}

func TestSettings(t *testing.T) {
	got := settingsOf(t, map[string]string{
		"main.yaml": `include: more.yaml
listeners:
  - {name: web, address: ":81", trusted_proxies: [10.0.0.0/8], max_body_size: 10MiB}
registries:
  - type: consul
    address: https://consul:8501
    token_file: tok
    register: {check_url: "http://joe:hunter2@a/b", meta: {team: a, api-token: xyz}}
defaults:
  timeout: 7s
  sticky: {cookie: c, secret_file: sticky}
  retry: {attempts: 1}
  health_check: {path: /h, headers: {Authorization: Bearer x, X-A: "1"}}
services:
  orders:
    retry: {retriable_status: [429]}
routes:
  - {name: r, service: orders, match: {methods: [GET]}, timeout: 0}
error_pages: {no_route: page}
`,
		"more.yaml": "services: {cart: {timeout: 90s}}",
		"tok":       "s3cret", "sticky": "0123456789abcdef", "page": "hello",
	}, Options{
		Admin: ":1", LogLevel: "debug", Variables: map[string]string{"log-level": "USHER_LOG_LEVEL"},
		Env: envOf(map[string]string{"CONSUL_NAMESPACE": "ns", "STATE_DIRECTORY": "/state"}),
	})
	for path, want := range map[string]Setting{
		"listeners[0].address":                        {"", ":81", "main.yaml:3:26"},
		"listeners[0].trusted_proxies":                {"", []string{"10.0.0.0/8"}, "main.yaml:3:50"},
		"listeners[0].max_body_size":                  {"", "10MiB", "main.yaml:3:79"},
		"listeners[0].protocol":                       {"", "http", "default"},
		"listeners[0].keepalive_timeout":              {"", "1m15s", "default"},
		"admin.address":                               {"", ":1", "flag --admin"},
		"log.level":                                   {"", "debug", "env USHER_LOG_LEVEL"},
		"log.format":                                  {"", "auto", "default"},
		"state_dir":                                   {"", "/state", "env STATE_DIRECTORY"},
		"registries[0].address":                       {"", "https://consul:8501", "main.yaml:6:14"},
		"registries[0].register.check_url":            {"", "http://joe:redacted@a/b", "main.yaml:8:27"},
		"registries[0].namespace":                     {"", "ns", "env CONSUL_NAMESPACE"},
		"registries[0].token":                         {"", "redacted", "tok"},
		"registries[0].datacenters":                   {"", []string{}, "default"},
		"registries[0].register.meta.team":            {"", "a", "main.yaml:8:66"},
		"registries[0].register.meta.api-token":       {"", "redacted", "main.yaml:8:80"},
		"defaults.sticky.secret":                      {"", "redacted", "sticky"},
		"services.orders.sticky.secret":               {"", "redacted", "sticky"},
		"services.orders.timeout":                     {"", "7s", "main.yaml:10:12"},
		"services.cart.timeout":                       {"", "1m30s", "more.yaml:1:28"},
		"services.orders.retry.attempts":              {"", 1, "main.yaml:12:21"},
		"services.orders.retry.retriable_status":      {"", []int{429}, "main.yaml:16:31"},
		"services.orders.retry.backoff.base":          {"", "25ms", "default"},
		"services.cart.health_check.headers.X-A":      {"", "1", "main.yaml:13:68"},
		"defaults.health_check.headers.X-A":           {"", "1", "main.yaml:13:68"},
		"routes[0].match.methods":                     {"", []string{"GET"}, "main.yaml:18:49"},
		"routes[0].timeout":                           {"", "0s", "main.yaml:18:66"},
		"error_pages.no_route":                        {"", "page", "main.yaml:19:25"},
		"services.cart.adaptive_concurrency.max":      {"", 1000, "default"},
		"services.cart.outlier.max_ejected_share":     {"", 0.5, "default"},
		"services.cart.panic_includes_critical":       {"", false, "default"},
		"defaults.health_check.headers.Authorization": {"", "redacted", "main.yaml:13:53"},
	} {
		s, ok := got[path]
		if text, is := s.Value.(string); is && path == "error_pages.no_route" {
			s.Value = filepath.Base(text)
		}
		want.Path = path
		if !ok || !reflect.DeepEqual(s, want) {
			t.Errorf("%s: got %#v, want %#v", path, s, want)
		}
	}
	for path, s := range got {
		for _, secret := range []string{"s3cret", "0123456789abcdef", "hunter2", "Bearer x", "xyz"} {
			if text, ok := s.Value.(string); ok && strings.Contains(text, secret) {
				t.Errorf("%s shows the secret %q", path, secret)
			}
		}
		if strings.HasPrefix(path, "routes[0].redirect") || strings.HasPrefix(path, "routes[0].retry") {
			t.Errorf("%s is there though nobody set it", path)
		}
	}
}

// TestSettingsOfDefaults: without a file everything is a default.
func TestSettingsOfDefaults(t *testing.T) {
	cfg, err := Load("", Options{Env: envOf(nil)})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, s := range cfg.Settings() {
		n++
		if s.Origin != OriginDefault {
			t.Errorf("%s = %v: origin %q", s.Path, s.Value, s.Origin)
		}
	}
	if n < 100 {
		t.Errorf("only %d settings", n)
	}
}

// TestSettingsFromEnvironment: what CONSUL_* says is told as such.
func TestSettingsFromEnvironment(t *testing.T) {
	files := map[string]string{"main.yaml": "", "tok": "s3cret"}
	token := writeFiles(t, files)
	got := settingsOf(t, files, Options{Env: envOf(map[string]string{
		"CONSUL_HTTP_ADDR": "c:1", "CONSUL_HTTP_SSL": "true", "CONSUL_HTTP_SSL_VERIFY": "false",
		"CONSUL_HTTP_TOKEN_FILE": filepath.Join(filepath.Dir(token), "tok"),
	})})
	for path, want := range map[string]Setting{
		"registries[0].address":                  {"", "https://c:1", "env CONSUL_HTTP_ADDR"},
		"registries[0].tls.insecure_skip_verify": {"", true, "env CONSUL_HTTP_SSL_VERIFY"},
		"registries[0].token":                    {"", "redacted", "tok"},
	} {
		want.Path = path
		if !reflect.DeepEqual(got[path], want) {
			t.Errorf("%s: got %#v, want %#v", path, got[path], want)
		}
	}
	if got := got["registries[0].token_file"]; got.Origin != "env CONSUL_HTTP_TOKEN_FILE" {
		t.Errorf("token_file: got %#v", got)
	}
}

// TestSettingsCoverEveryKey: each key of each struct that is there has its value shown.
func TestSettingsCoverEveryKey(t *testing.T) {
	seen := map[string]bool{}
	for path := range settingsOf(t, map[string]string{"main.yaml": ""}, Options{}) {
		for part := range strings.SplitSeq(path, ".") {
			name, _, _ := strings.Cut(part, "[")
			seen[name] = true
		}
	}
	typ := reflect.TypeFor[Defaults]()
	for _, key := range keysOf(planOf(typ), typ) {
		if !seen[key] && key != "secret_file" {
			t.Errorf("no setting of the key %s", key)
		}
	}
}
