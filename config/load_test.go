package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// writeFiles writes files, by name and content, into a new folder and returns
// the path of main.yaml in it.
func writeFiles(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "main.yaml")
}

// mustLoad loads a configuration of one file, without any environment.
func mustLoad(t testing.TB, content string, opts Options) *Config {
	t.Helper()
	if opts.Env == nil {
		opts.Env = envOf(nil)
	}
	cfg, err := Load(writeFiles(t, map[string]string{"main.yaml": content}), opts)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestDefaults(t *testing.T) {
	policy := Policy{
		Balance: "least_request", ConnectTimeout: time.Second, Timeout: 30 * time.Second,
		IdleTimeout: time.Minute, Upgrades: []string{"websocket"}, TunnelIdleTimeout: time.Hour,
		Retry: defaultRetry(), HashKey: "client_ip", RingHash: RingHash{LoadFactor: 1.25},
		Sticky: Sticky{SameSite: "lax", Path: "/"}, Health: DefaultHealth(),
		AdaptiveConcurrency: AdaptiveConcurrency{Min: 10, Max: 1000},
	}
	want := &Config{
		Listeners: []Listener{{
			Name: "web", Address: ":8080", Protocol: "http",
			HeaderTimeout: 10 * time.Second, KeepaliveTimeout: 75 * time.Second, UnderscoreHeaders: "drop",
			AccessLog: true,
			HTTP2:     DefaultHTTP2(),
			TLS: ListenerTLS{
				MinVersion: "1.2", OCSP: OCSP{Interval: time.Hour},
				ClientAuth: ClientAuth{Mode: "none", Forward: "subject"},
			},
			ProxyProtocol: ProxyProtocol{Timeout: 5 * time.Second, Required: true},
		}},
		Admin: Admin{Address: "127.0.0.1:9900"},
		Log:   Log{Level: "info", Format: "auto"},
		AccessLog: AccessLog{
			Format: "json", Sample: 1, Slow: time.Second, BufferSize: 4 << 20, FlushInterval: time.Second,
		},
		Registries: []Registry{{
			Type: "consul", Name: "consul", StartTimeout: 10 * time.Second,
			Consul: consulOf(Consul{Address: "127.0.0.1:8500"}),
		}},
		Telemetry:    Telemetry{UpstreamSeries: 2000},
		Discovery:    Discovery{CanaryInterval: 10 * time.Second},
		History:      History{Generations: 100, Requests: 1024},
		SharedRoutes: true,
		ACME:         defaultACME(),
		Defaults:     Defaults{Policy: policy, DrainTimeout: 30 * time.Second},
	}
	cfg, err := Load("", Options{Env: envOf(nil)})
	if err != nil {
		t.Fatal(err)
	}
	want.Hash, want.origins = cfg.Hash, cfg.origins
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got %+v\nwant %+v", cfg, want)
	}
	for name, content := range map[string]string{
		"empty": "", "comment": "# nothing\n", "null": "~\n", "null keys": "log:\nlisteners: ~\n",
	} {
		if got := mustLoad(t, content, Options{}); got.Hash != cfg.Hash {
			t.Errorf("%s: differs from the defaults: %+v", name, got)
		}
	}
}

func TestLoadFull(t *testing.T) {
	t.Chdir("testdata/good")
	got, err := Load("full.yaml", Options{Env: envOf(nil)})
	if err != nil {
		t.Fatal(err)
	}
	want := wantFull()
	got.Hash, got.origins = "", origins{}
	dropPositions(got)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
		for i := range min(len(got.Registries), len(want.Registries)) {
			t.Logf("consul: got %+v\nwant %+v", got.Registries[i].Consul, want.Registries[i].Consul)
		}
	}
}

func dropPositions(cfg *Config) {
	for i := range cfg.Listeners {
		cfg.Listeners[i].Pos = Pos{}
	}
	for i := range cfg.Registries {
		cfg.Registries[i].Pos = Pos{}
	}
	for i := range cfg.Routes {
		cfg.Routes[i].Pos = Pos{}
	}
	for i := range cfg.Claims {
		cfg.Claims[i].Pos = Pos{}
	}
	for name, s := range cfg.Services {
		s.Pos = Pos{}
		cfg.Services[name] = s
	}
}

func wantFull() *Config {
	policy := Policy{
		Balance: "round_robin", ConnectTimeout: 2 * time.Second, Timeout: 10 * time.Second,
		IdleTimeout: 20 * time.Second, TotalTimeout: time.Hour, Upgrades: []string{"websocket"},
		TunnelIdleTimeout: time.Hour, Health: DefaultHealth(),
		HashKey: "header:X-User", RingHash: RingHash{LoadFactor: 1.5},
		Sticky: Sticky{
			Cookie: "usher", TTL: time.Hour, Secret: "0123456789abcdef", Secure: true,
			SameSite: "strict", Path: "/shop",
		},
		AdaptiveConcurrency: AdaptiveConcurrency{Min: 10, Max: 1000},
		Retry: Retry{
			Attempts: 1, On: []string{"connect_failed"}, RetriableStatus: []int{429}, PerTryTimeout: 2 * time.Second,
			Backoff: Backoff{10 * time.Millisecond, time.Second}, Budget: RetryBudget{0.5, 10},
		},
	}
	orders, cart := Service{Policy: policy}, Service{Policy: policy}
	orders.Retry.On, orders.Retry.Budget.Share = []string{"reset", "gateway_errors"}, 0
	orders.MaxRequests, orders.MaxEndpointRequests = 500, 50
	orders.Hedge.Delay = 100 * time.Millisecond
	orders.AdaptiveConcurrency = AdaptiveConcurrency{true, 5, 200}
	orders.Balance, orders.Retry.Attempts = "least_request", 0
	orders.HashKey, orders.Sticky.Secret = "client_ip", "the secret of orders"
	orders.Upgrades = []string{"websocket", "tcp"}
	orders.TunnelIdleTimeout, orders.TunnelDrain = 2*time.Hour, time.Minute
	cart.TotalTimeout = 0
	return &Config{
		Listeners: []Listener{{
			Name: "web", Address: ":8080", Protocol: "http", TrustedProxies: []string{"10.0.0.0/8", "::1"},
			MaxConnections: 1000, HeaderTimeout: 5 * time.Second, KeepaliveTimeout: time.Minute, MaxBodySize: 10 << 20,
			MaxTunnels: 100, MaxConnectionsPerClient: 50, RequestID: true, Via: true, Forwarded: true,
			AccessLog: false, Debug: Debug{From: []string{"127.0.0.1", "10.0.0.0/8"}},
			UnderscoreHeaders: "keep", HTTP2: DefaultHTTP2(), DeferAccept: true, TLS: defaultListenerTLS(),
			ProxyProtocol: ProxyProtocol{Timeout: 5 * time.Second, Required: true},
		}},
		Limits:    Limits{MaxConnections: 5000},
		Admin:     Admin{Address: "127.0.0.1:9901"},
		Telemetry: Telemetry{":9902", 100},
		Log:       Log{"debug", "json"},
		AccessLog: AccessLog{
			Output: "access.log", Format: "json", Fields: []string{"time", "status"}, Sample: 0.1,
			Slow: 500 * time.Millisecond, RequestHeaders: []string{"X-Tenant"}, ResponseHeaders: []string{"X-Cache"},
			Redact:     Redact{Headers: []string{"X-Internal"}, Query: []string{"ticket"}},
			BufferSize: 1 << 20, FlushInterval: 100 * time.Millisecond,
		},
		StateDir:  "state",
		ACME:      defaultACME(),
		Discovery: Discovery{true, 5 * time.Second},
		History:   History{Generations: 100, Requests: 1024},
		Claims: []Claim{
			{Host: "*.shop.example.com", Path: "/orders", Services: []string{"orders", "orders-*"}},
			{Host: "*", Path: "/", Services: []string{"web"}},
			{Path: "/", Services: []string{"front"}},
		},
		Registries: []Registry{
			wantConsul(),
			wantSecond(),
			{Type: "file", Name: "file", StartTimeout: 10 * time.Second, File: &File{"conf.d/services.yaml"}},
		},
		Routes: []Route{
			{
				Name: "orders", Service: "orders@main", Priority: -5,
				StripPrefix: "/orders", PrependPrefix: "/v1", Host: "orders.internal",
				Match: Match{
					Listeners: []string{"web"}, Hosts: []string{"shop.example.com", "*.example.org:8080", "[::1]"},
					Path: "/orders/", PathType: "exact", Methods: []string{"GET", "POST"},
					Headers: map[string]string{"X-Beta": "1"},
				},
			},
			{
				Name: "any-case", Service: "orders",
				Match: Match{Hosts: []string{"shop.example.com"}, Path: "/", PathType: "iprefix"},
			},
			{Name: "canary", Match: Match{Path: "^/v[0-9]+/", PathType: "regex"}, Split: []Arm{{"a", 95}, {"b", 1}}},
		},
		Services: map[string]Service{"orders": orders, "cart": cart},
		Defaults: Defaults{Policy: policy, DrainDelay: 5 * time.Second, DrainTimeout: 10 * time.Second},
		Files:    []string{"full.yaml", "conf.d/10-split.yaml", "conf.d/20-cart.yaml", "token", "sticky"},
		Globs:    []string{"conf.d/*.yaml"},
	}
}

func wantConsul() Registry {
	return Registry{
		Type: "consul", Name: "main", StartTimeout: 3 * time.Second,
		Consul: &Consul{
			Address: "https://consul.example.com:8501", Datacenter: "dc1", Namespace: "team", Partition: "part",
			Token: "s3cret", TokenFile: "token", TagPrefix: "route-", MaxWatches: 32,
			TLS:  ConsulTLS{"ca.pem", "c.pem", "/k.pem", "consul", true},
			Zone: "a", TaggedAddress: "wan", MaxStale: time.Minute, Expose: "all",
			DefaultRoute: "{service}.example.com/ proto=http", ChecksRequired: "one", KVPrefix: "team/usher/",
			Guard: Guard{true, 0.25, 1, 20 * time.Second, 2, 5},
			Register: Register{
				Name: "usher", Address: "10.0.0.1", Port: 80, Tags: []string{"edge"}, Meta: map[string]string{"v": "1"},
				CheckURL: "http://10.0.0.1:9902/readyz", TTL: 10 * time.Second, DeregisterAfter: 2 * time.Minute,
			},
			Connect: Connect{Enabled: true, Service: "edge"},
		},
	}
}

func wantSecond() Registry {
	c := consulOf(Consul{Addresses: []string{"a:8500", "[::1]:8500"}, Datacenters: []string{"dc1", "dc2"}})
	c.MaxStale, c.KVPrefix, c.Register.DeregisterAfter, c.Guard.Enabled = 0, "", 0, false
	return Registry{Type: "consul", Name: "second", StartTimeout: 10 * time.Second, Consul: c}
}

func TestPositions(t *testing.T) {
	t.Chdir("testdata/good")
	cfg, err := Load("full.yaml", Options{Env: envOf(nil)})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		got  Pos
		want string
	}{
		{"listener", cfg.Listeners[0].Pos, "full.yaml:4:5"},
		{"registry", cfg.Registries[0].Pos, "full.yaml:39:5"},
		{"claim", cfg.Claims[1].Pos, "full.yaml:94:5"},
		{"included registry", cfg.Registries[2].Pos, "conf.d/10-split.yaml:2:5"},
		{"service: its key", cfg.Services["orders"].Pos, "full.yaml:115:3"},
		{"included service", cfg.Services["cart"].Pos, "conf.d/20-cart.yaml:1:12"},
	} {
		if tt.got.String() != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, tt.got, tt.want)
		}
	}
}

func TestOverrides(t *testing.T) {
	cfg := mustLoad(t, `
listeners: [{name: a, address: ":1"}, {name: b, address: ":2"}]
registries: [{type: file, path: x}]
admin: {address: "127.0.0.1:1"}
log: {level: warn, format: json}
`, Options{Listen: ":0", Admin: "127.0.0.1:0", Consul: "consul:8500", LogLevel: "debug", LogFormat: "text"})
	if len(cfg.Listeners) != 1 || cfg.Listeners[0].Name != "web" || cfg.Listeners[0].Address != ":0" {
		t.Errorf("listeners: got %+v", cfg.Listeners)
	}
	r := cfg.Registries[0]
	if len(cfg.Registries) != 1 || r.Consul.Address != "consul:8500" || r.Name != "consul" {
		t.Errorf("registries: got %+v", cfg.Registries)
	}
	if cfg.Admin.Address != "127.0.0.1:0" || cfg.Log != (Log{"debug", "text"}) {
		t.Errorf("got %+v %+v", cfg.Admin, cfg.Log)
	}
}

func TestOverrideProblems(t *testing.T) {
	_, err := Load("", Options{
		Env:    envOf(map[string]string{"CONSUL_HTTP_SSL": "maybe", "CONSUL_HTTP_TOKEN_FILE": "/no/such"}),
		Listen: "8080", Admin: "x", Consul: "ftp://x", LogLevel: "debgu", LogFormat: "xml",
	})
	want := `--admin: address "x" is not host:port or :port
--consul: address "ftp://x" has the scheme "ftp", expected http, https or unix
--listen: address "8080" is only a port: write ":8080"
--log-format: unknown log format "xml", expected one of text, json, auto
--log-level: unknown log level "debgu", did you mean "debug"?
CONSUL_HTTP_SSL: expected true or false, found "maybe"
CONSUL_HTTP_TOKEN_FILE: secret file "/no/such": no such file or directory`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestMissingFile(t *testing.T) {
	_, err := Load("no-such.yaml", Options{Env: envOf(nil)})
	if err == nil || err.Error() != "no-such.yaml: no such file or directory" {
		t.Errorf("got %v", err)
	}
}

func TestRegistriesGiven(t *testing.T) {
	for name, tt := range map[string]struct {
		content string
		want    int
	}{
		"left out": {"log: {level: info}", 1},
		"null":     {"registries:", 1},
		"empty":    {"registries: []", 0},
		"two":      {"registries: [{type: consul}, {type: file, path: x}]", 2},
	} {
		if got := mustLoad(t, tt.content, Options{}).Registries; len(got) != tt.want {
			t.Errorf("%s: got %d registries, want %d", name, len(got), tt.want)
		}
	}
}

func TestListenerNameIsItsAddress(t *testing.T) {
	cfg := mustLoad(t, `
listeners: [{address: ":81"}]
routes: [{name: a, service: s, match: {listeners: [":81"]}}]
`, Options{})
	if cfg.Listeners[0].Name != ":81" {
		t.Errorf("got %q", cfg.Listeners[0].Name)
	}
}

func TestHash(t *testing.T) {
	base := mustLoad(t, "services: {a: {timeout: 1s}, b: {}}\nlog: {level: warn}", Options{}).Hash
	for name, tt := range map[string]struct {
		content string
		same    bool
	}{
		"order and comments": {"# hello\nlog:\n  level: warn\nservices: {b: {}, a: {timeout: 1000ms}}", true},
		"another value":      {"services: {a: {timeout: 2s}, b: {}}\nlog: {level: warn}", false},
		"another key":        {"services: {a: {timeout: 1s}, c: {}}\nlog: {level: warn}", false},
	} {
		if got := mustLoad(t, tt.content, Options{}).Hash; (got == base) != tt.same {
			t.Errorf("%s: hashes %s and %s", name, got, base)
		}
	}
}

// TestHashCoversEveryKey: each of these is another configuration than the others.
func TestHashCoversEveryKey(t *testing.T) {
	consul := func(keys string) string { return "registries: [{type: consul, " + keys + "}]" }
	claim := func(keys string) string { return "claims: [{" + keys + "}]" }
	seen := map[string]string{}
	for _, content := range []string{
		"", "shared_routes: false", "state_dir: /a", "state_dir: /b",
		"discovery: {canary: true}", "discovery: {canary_interval: 1s}",
		claim("host: a, services: [x]"), claim("host: b, services: [x]"), claim("host: a, path: /p, services: [x]"),
		claim("path: /, services: [x]"), claim("host: a, services: [x, y]"),
		consul("addresses: [a, b]"), consul("addresses: [b, a]"), consul("datacenters: [a, b]"),
		consul("datacenters: [b, a]"), consul("zone: a"), consul("tagged_address: a"), consul("max_stale: 1s"),
		consul("expose: all"), consul("default_route: '{service}/'"), consul("checks_required: one"),
		consul("kv_prefix: a/"), consul("guard: {enabled: false}"), consul("guard: {service_share: 0.4}"),
		consul("guard: {catalog_share: 0.4}"), consul("guard: {window: 1s}"), consul("guard: {min_endpoints: 9}"),
		consul("guard: {min_catalog: 9}"), consul("register: {name: a}"), consul("register: {name: b}"),
		consul("register: {name: a, tags: [b]}"), consul("register: {name: a, meta: {b: c}}"),
		consul("register: {name: a, meta: {b: d}}"), consul("register: {name: a, ttl: 1s}"),
	} {
		hash := mustLoad(t, content, Options{}).Hash
		if other, twice := seen[hash]; twice {
			t.Errorf("%q and %q have the same hash", content, other)
		}
		seen[hash] = content
	}
}

func TestStateDir(t *testing.T) {
	systemd := map[string]string{"STATE_DIRECTORY": "/var/lib/usher:/var/lib/other"}
	main := writeFiles(t, map[string]string{"main.yaml": "include: sub/a.yaml", "sub/a.yaml": "state_dir: state"})
	cfg, err := Load(main, Options{Env: envOf(systemd)})
	if want := filepath.Join(filepath.Dir(main), "sub/state"); err != nil || cfg.StateDir != want {
		t.Errorf("relative: got %+v, %v, want %q", cfg, err, want)
	}
	for name, tt := range map[string]struct {
		env           map[string]string
		content, want string
	}{
		"nowhere":             {nil, "", ""},
		"of systemd":          {systemd, "", "/var/lib/usher"},
		"null is left out":    {systemd, "state_dir: ~", "/var/lib/usher"},
		"the only one":        {map[string]string{"STATE_DIRECTORY": "/s"}, "", "/s"},
		"an empty variable":   {map[string]string{"STATE_DIRECTORY": ""}, "", ""},
		"the file wins":       {systemd, "state_dir: /mine", "/mine"},
		"empty is none":       {systemd, `state_dir: ""`, ""},
		"a variable in it":    {systemd, "state_dir: ${STATE_DIRECTORY}", "/var/lib/usher:/var/lib/other"},
		"an empty one's none": {systemd, `state_dir: "${NO:-}"`, ""},
	} {
		if got := mustLoad(t, tt.content, Options{Env: envOf(tt.env)}).StateDir; got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

func TestClaimIsCompleted(t *testing.T) {
	got := mustLoad(t, `
claims:
  - {host: Shop.Example.COM., services: [a]}
  - {path: /x, services: [b]}
`, Options{}).Claims
	if got[0].Host != "shop.example.com" || got[0].Path != "/" || got[1].Host != "" || got[1].Path != "/x" {
		t.Errorf("got %+v", got)
	}
}

func TestSawEvenWhenItFails(t *testing.T) {
	main := writeFiles(t, map[string]string{
		"main.yaml": "include: [gone.yaml, conf/*.yaml]\nregistries: [{type: consul, token_file: tok}]",
	})
	var saw []string
	_, err := Load(main, Options{Env: envOf(nil), Saw: func(p string) { saw = append(saw, filepath.Base(p)) }})
	if err == nil || !slices.Equal(saw, []string{"main.yaml", "gone.yaml", "*.yaml", "tok"}) {
		t.Errorf("saw %q, error %v", saw, err)
	}
}

func TestFileTooLarge(t *testing.T) {
	main := writeFiles(t, map[string]string{
		"main.yaml": "registries: [{type: consul, token_file: tok}]",
		"tok":       strings.Repeat("x", maxSecretSize+1),
	})
	_, err := Load(main, Options{Env: envOf(nil)})
	if err == nil || !strings.Contains(err.Error(), "larger than 1MiB") {
		t.Errorf("got %v", err)
	}
}
