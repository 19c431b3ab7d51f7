package config

import (
	"slices"
	"strings"
	"time"
)

// builtin is a configuration in which everything outside lists has its default.
func builtin() *Config {
	return &Config{
		Admin:        Admin{Address: "127.0.0.1:9900"},
		Log:          Log{Level: "info", Format: "auto"},
		Telemetry:    Telemetry{UpstreamSeries: 2000},
		AccessLog:    defaultAccessLog(),
		Discovery:    Discovery{CanaryInterval: 10 * time.Second},
		History:      History{Generations: 100, Requests: 1024},
		SharedRoutes: true,
		ACME:         defaultACME(),
		Defaults: Defaults{
			Policy: Policy{
				Balance:           "least_request",
				HashKey:           "client_ip",
				RingHash:          RingHash{LoadFactor: 1.25},
				Sticky:            Sticky{SameSite: "lax", Path: "/"},
				ConnectTimeout:    time.Second,
				Timeout:           30 * time.Second,
				IdleTimeout:       60 * time.Second,
				Upgrades:          []string{"websocket"},
				TunnelIdleTimeout: time.Hour,
				Retry:             defaultRetry(),
				Health:            DefaultHealth(),

				AdaptiveConcurrency: AdaptiveConcurrency{Min: 10, Max: 1000},
			},
			DrainTimeout: 30 * time.Second,
		},
	}
}

// elements are the defaults of what stands in lists: one value of each type.
func elements() []any {
	return []any{
		Listener{
			Protocol: "http", HeaderTimeout: 10 * time.Second, KeepaliveTimeout: 75 * time.Second,
			UnderscoreHeaders: "drop", HTTP2: DefaultHTTP2(), TLS: defaultListenerTLS(),
			ProxyProtocol: ProxyProtocol{Timeout: 5 * time.Second, Required: true}, AccessLog: true,
		},
		HSTS{MaxAge: 365 * 24 * time.Hour},
		RedirectHTTPS{Code: 308, Port: 443},
		Registry{StartTimeout: 10 * time.Second},
		Consul{
			TagPrefix: "urlprefix-", MaxWatches: 64, MaxStale: 30 * time.Second,
			Expose: "announced", ChecksRequired: "all", KVPrefix: "usher/",
			Guard: Guard{
				Enabled: true, ServiceShare: 0.5, CatalogShare: 0.5, Window: 10 * time.Second,
				MinEndpoints: 4, MinCatalog: 10,
			},
			Register: Register{TTL: 15 * time.Second, DeregisterAfter: time.Minute},
			Connect:  Connect{Service: "usher"},
		},
		Route{Match: Match{PathType: "prefix"}},
		Arm{Weight: 1},
		Redirect{Code: 302},
		Respond{Status: 200},
		CatalogInstance{Weight: 1, Status: "passing"},
	}
}

// override puts the flags into the tree, at positions that name them.
func override(root *node, opts Options) {
	if opts.Listen != "" {
		pos := opts.origin("listen")
		root.set("listeners", listAt(pos, mapAt(pos, "name", "web", "address", opts.Listen)))
	}
	if opts.Consul != "" {
		pos := opts.origin("consul")
		root.set("registries", listAt(pos, mapAt(pos, "type", "consul", "address", opts.Consul)))
	}
	overrideKey(root, "admin", "address", opts.origin("admin"), opts.Admin)
	overrideKey(root, "log", "level", opts.origin("log-level"), opts.LogLevel)
	overrideKey(root, "log", "format", opts.origin("log-format"), opts.LogFormat)
}

// origin is the position of what a flag, or its variable, gave.
func (o *Options) origin(flag string) Pos {
	if name, ok := o.Variables[flag]; ok {
		return Pos{File: name}
	}
	return Pos{File: "--" + flag}
}

// overrideKey leaves a section that is no map alone: it is refused later.
func overrideKey(root *node, section, key string, pos Pos, value string) {
	if value == "" {
		return
	}
	if root.given(section) == nil {
		root.set(section, mapAt(pos))
	}
	root.given(section).set(key, scalarAt(pos, value))
}

// addMissing puts the lists that have a default into the tree when nobody gave
// them. An empty list is given: it stays empty.
func addMissing(root *node) {
	pos := Pos{File: root.pos.File}
	if root.given("listeners") == nil {
		root.set("listeners", listAt(pos, mapAt(pos, "name", "web", "address", ":8080")))
	}
	if root.given("registries") == nil {
		root.set("registries", listAt(pos, mapAt(pos, "type", "consul")))
	}
}

// completeConfig fills in the defaults that depend on other values or on the
// environment.
func completeConfig(cfg *Config, d *decoder, l *loader) {
	for i := range cfg.Listeners {
		if cfg.Listeners[i].Name == "" {
			cfg.Listeners[i].Name = cfg.Listeners[i].Address
		}
	}
	for i := range cfg.Registries {
		r := &cfg.Registries[i]
		if r.Name == "" {
			r.Name = r.Type
		}
		if r.Consul != nil {
			consulEnv(r.Consul, index("registries", i), d, l)
		}
	}
	for i := range cfg.Routes {
		completeMatch(&cfg.Routes[i].Match)
		completeProtocol(&cfg.Routes[i], cfg.Listeners)
	}
	for i := range cfg.Claims {
		completeClaim(&cfg.Claims[i])
	}
	completeAccessLog(&cfg.AccessLog, d.where)
	readUpstreamFiles(cfg, d, l)
	readListenerFiles(cfg, d, l)
	if !d.where.given("state_dir") {
		cfg.StateDir = stateDir(d, l)
	}
	completeACME(cfg, d, l)
}

// stateDir takes the folder that systemd made for the service; the first where it
// made several.
func stateDir(d *decoder, l *loader) string {
	const name = "STATE_DIRECTORY"
	value, _ := l.env(name)
	dir, _, _ := strings.Cut(value, ":")
	if dir != "" {
		d.where["state_dir"] = Pos{File: name}
	}
	return dir
}

// completeClaim writes a host as rules are compared by it: in lower case, without the
// dot of the root.
func completeClaim(c *Claim) {
	c.Host = lowerASCII(c.Host)
	if c.Host != "*." {
		c.Host = strings.TrimSuffix(c.Host, ".")
	}
	if c.Path == "" && c.Host != "" {
		c.Path = "/"
	}
}

func completeMatch(m *Match) {
	if m.GRPC != nil {
		m.Path, m.PathType = m.GRPC.path()
	}
	if m.Path == "" && slices.Contains([]string{"prefix", "iprefix", "exact"}, m.PathType) {
		m.Path = "/"
	}
	for i, h := range m.Hosts {
		m.Hosts[i] = lowerASCII(h)
	}
}
