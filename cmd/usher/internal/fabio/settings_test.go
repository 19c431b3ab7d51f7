package fabio

import (
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"time"
)

// fullProperties sets what has an equivalent, and some of what has none.
const fullProperties = `
proxy.addr = :9999;rt=5s, 127.0.0.1:7777;it=90s, :9443;cs=main, :9101;proto=prometheus
proxy.cs = cs=main;type=path;cert=/etc/certs
proxy.strategy = rr
proxy.matcher = prefix
proxy.noroutestatus = 503
proxy.dialtimeout = 3s
proxy.responseheadertimeout = 45s
proxy.shutdownwait = 1m
proxy.deregistergraceperiod = 5s
registry.consul.addr = https://consul.example.com:8501
registry.consul.token = s3cret${d}$
registry.consul.namespace = team
registry.consul.tagprefix = fabio-
registry.consul.checksRequired = all
registry.consul.requireConsistent = true
registry.consul.tls.cafile = /etc/consul/ca.pem
registry.consul.tls.certfile = /etc/consul/c.pem
registry.consul.tls.keyfile = /etc/consul/k.pem
registry.consul.tls.insecureskipverify = true
registry.consul.register.name = edge
registry.consul.register.addr = 10.0.0.9:9998
registry.consul.register.tags = a, b
registry.timeout = 20s
ui.addr = 127.0.0.1:9998
log.level = WARN
metrics.target = prometheus,statsd_raw
bgp.enabled = false
`

func TestSettings(t *testing.T) {
	r := Convert(props(fullProperties))
	cfg := load(t, t.TempDir(), r).config
	if len(cfg.Registries) != 1 || cfg.Registries[0].Consul == nil {
		t.Fatalf("registries %+v", cfg.Registries)
	}
	reg := cfg.Registries[0]
	con := reg.Consul
	got := map[string]any{
		"listeners":     []string{cfg.Listeners[0].Address, cfg.Listeners[1].Address},
		"keepalive":     cfg.Listeners[1].KeepaliveTimeout,
		"admin":         cfg.Admin.Address,
		"telemetry":     cfg.Telemetry.Address,
		"log":           cfg.Log.Level,
		"defaults":      []any{cfg.Defaults.Balance, cfg.Defaults.ConnectTimeout, cfg.Defaults.Timeout},
		"drain":         []any{cfg.Defaults.DrainDelay, cfg.Defaults.DrainTimeout},
		"agent":         []any{con.Address, con.Token, con.Namespace, con.TagPrefix, con.ChecksRequired, con.MaxStale},
		"tls":           []any{con.TLS.CAFile, con.TLS.CertFile, con.TLS.KeyFile, con.TLS.InsecureSkipVerify},
		"register":      []any{con.Register.Name, con.Register.Address, con.Register.Port, con.Register.Tags},
		"start_timeout": reg.StartTimeout,
	}
	for key, want := range map[string]any{
		"listeners":     []string{":9999", "127.0.0.1:7777"},
		"keepalive":     90 * time.Second,
		"admin":         "127.0.0.1:9998",
		"telemetry":     ":9101",
		"log":           "warn",
		"defaults":      []any{"round_robin", 3 * time.Second, 45 * time.Second},
		"drain":         []any{5 * time.Second, time.Minute},
		"agent":         []any{"https://consul.example.com:8501", "s3cret$", "team", "fabio-", "all", time.Duration(0)},
		"tls":           []any{"/etc/consul/ca.pem", "/etc/consul/c.pem", "/etc/consul/k.pem", true},
		"register":      []any{"edge", "10.0.0.9", 9998, []string{"a", "b"}},
		"start_timeout": 20 * time.Second,
	} {
		if !reflect.DeepEqual(got[key], want) {
			t.Errorf("%s: got %v, want %v", key, got[key], want)
		}
	}
	for _, want := range [][]string{
		{"proxy.addr", "rt=5s"},
		{"proxy.noroutestatus", "404"},
		{"metrics.target", "statsd_raw"},
		{"bgp.enabled", "BGP"},
	} {
		if !has(r.Notes, Dropped, want...) {
			t.Errorf("no note of %v", want)
		}
	}
	if !has(r.Notes, Todo, "proxy.addr", ":9443", "https") || !has(r.Notes, Todo, "proxy.cs", "main") {
		t.Error("the TLS listener went without a word")
	}
}

// The secret is in the configuration and nowhere else.
func TestTokenIsNotReported(t *testing.T) {
	r := Convert(props("registry.consul.token = hush"))
	if !strings.Contains(r.Config, "hush") || strings.Contains(fmt.Sprint(r.Notes), "hush") {
		t.Errorf("config:\n%s\nreport: %v", r.Config, r.Notes)
	}
}

// What Fabio does when nothing is said, and usher would do otherwise.
func TestDefaults(t *testing.T) {
	for name, in := range map[string]Input{"empty file": props(""), "no file": commands("")} {
		cfg := load(t, t.TempDir(), Convert(in)).config
		if cfg.Listeners[0].Address != ":9999" || cfg.Registries[0].Consul.ChecksRequired != "one" {
			t.Errorf("%s: listener %s, checks_required %s", name,
				cfg.Listeners[0].Address, cfg.Registries[0].Consul.ChecksRequired)
		}
	}
	if cfg := load(t, t.TempDir(), Convert(props(""))).config; cfg.Defaults.Timeout != 0 {
		t.Errorf("timeout %s, Fabio has none", cfg.Defaults.Timeout)
	}
}

// Every setting of Fabio's is known, and told of.
func TestEverySettingIsTold(t *testing.T) {
	for key := range strings.FieldsSeq(everySetting) {
		for _, value := range []string{"", "x", "true", "1s", "1"} {
			if value == "1s" && strings.HasPrefix(key, "proxy.addr") {
				continue
			}
			r := Convert(props(key + "=" + value))
			load(t, t.TempDir(), r)
			if !has(r.Notes, Dropped, "p:1 "+key) && !has(r.Notes, Todo, "p:1 "+key) &&
				!has(r.Notes, Differs, "p:1 "+key) && !has(r.Notes, Taken, "p:1 "+key) {
				t.Errorf("%s=%s was dropped in silence", key, value)
			}
			if has(r.Notes, Dropped, key, "not a setting") {
				t.Errorf("%s is not known", key)
			}
		}
	}
	if !has(Convert(props("registry.consul.checksrequired=all")).Notes, Dropped, "checksrequired", "not a setting") {
		t.Error("a misspelt setting is not told")
	}
}

// everySetting are the names of Fabio's settings, those of older versions included.
const everySetting = `insecure profile.mode profile.path glob.matching.disabled glob.cache.size
proxy.addr proxy.cs proxy.auth proxy.maxconn proxy.strategy proxy.matcher proxy.noroutestatus proxy.shutdownwait
proxy.deregistergraceperiod proxy.dialtimeout proxy.responseheadertimeout proxy.keepalivetimeout
proxy.idleconntimeout proxy.localip proxy.header.clientip proxy.header.tls proxy.header.tls.value
proxy.header.requestid proxy.header.sts.maxage proxy.header.sts.subdomains proxy.header.sts.preload
proxy.grpcmaxrxmsgsize proxy.grpcmaxtxmsgsize proxy.grpcshutdowntimeout proxy.gzip.contenttype
proxy.readtimeout proxy.writetimeout proxy.flushinterval proxy.globalflushinterval proxy.log.routes
log.access.format log.access.target log.routes.format log.level metrics.target metrics.prefix metrics.names
metrics.interval metrics.timeout metrics.retry metrics.graphite.addr metrics.statsd.addr metrics.dogstatsd.addr
metrics.circonus.apikey metrics.prometheus.path metrics.prometheus.buckets registry.backend registry.timeout
registry.retry registry.file.path registry.file.noroutehtmlpath registry.static.routes registry.static.noroutehtml
registry.consul.addr registry.consul.token registry.consul.kvpath registry.consul.noroutehtmlpath
registry.consul.tagprefix registry.consul.tls.keyfile registry.consul.tls.certfile registry.consul.tls.cafile
registry.consul.tls.capath registry.consul.tls.insecureskipverify registry.consul.register.enabled
registry.consul.namespace registry.consul.register.addr registry.consul.register.name registry.consul.register.tags
registry.consul.service.status registry.consul.register.checkInterval registry.consul.register.checkTimeout
registry.consul.register.checkTLSSkipVerify registry.consul.register.checkDeregisterCriticalServiceAfter
registry.consul.checksRequired registry.consul.serviceMonitors registry.consul.pollinterval
registry.consul.requireConsistent registry.consul.allowStale registry.custom.host registry.custom.scheme
runtime.gogc runtime.gomaxprocs ui.access ui.addr ui.color ui.title ui.path ui.routingtable.source.host
bgp.enabled bgp.peers tracing.TracingEnabled tracing.CollectorType aws.apigw.cert.cn`

// The backends without Consul bring their routes with them.
func TestBackends(t *testing.T) {
	const add = `route add web shop.test/ http://10.0.0.1:80/`
	read := func(path string) ([]byte, error) {
		if path == "routes.txt" {
			return []byte(add), nil
		}
		return nil, fs.ErrNotExist
	}
	for name, c := range map[string]struct {
		text, reached string
		registries    int
	}{
		"static":          {"registry.backend=static\nregistry.static.routes=" + add, "web", 1},
		"file":            {"registry.backend=file\nregistry.file.path=routes.txt", "web", 1},
		"a missing file":  {"registry.backend=file\nregistry.file.path=none.txt", "", 0},
		"static unused":   {"registry.static.routes=" + add, "", 1},
		"custom":          {"registry.backend=custom", "", 0},
		"consul settings": {"registry.backend=static\nregistry.consul.addr=x:1", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			in := props(c.text)
			in.ReadFile = read
			r := Convert(in)
			l := load(t, t.TempDir(), r)
			if got := l.reached("shop.test/"); got != c.reached || len(l.config.Registries) != c.registries {
				t.Errorf("reached %q, registries %+v, report %v", got, l.config.Registries, r.Notes)
			}
		})
	}
}
