package fabio

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"usher/config"
	"usher/routetable"
	"usher/routetable/balance"
	"usher/watcher"
	"usher/watcher/file"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func noEnv(string) (string, bool) { return "", false }

// commands is an input of route commands.
func commands(text string) Input { return Input{KV: KV{Texts: []Text{{"kv", text}}}} }

// props is an input of properties.
func props(text string) Input {
	return Input{Properties: ParseProperties("p", text, noEnv)}
}

// loaded is a result as usher reads it: both files loaded, and the table built of what
// the real file registry sends.
type loaded struct {
	config *config.Config
	// catalog is nil when there is none.
	catalog *config.Catalog
	table   *routetable.Table
}

// load fails the test unless usher takes the result.
func load(t testing.TB, dir string, r *Result, more ...*watcher.Service) loaded {
	t.Helper()
	opts := config.Options{Env: noEnv}
	path := filepath.Join(dir, ConfigFile)
	write(t, path, r.Config)
	cfg, err := config.Load(path, opts)
	if err != nil {
		t.Fatalf("usher refuses the configuration: %v\n%s", err, r.Config)
	}
	out := loaded{config: cfg}
	services := slices.Clone(more)
	for _, reg := range cfg.Registries {
		if reg.File == nil {
			continue
		}
		write(t, reg.File.Path, r.Catalog)
		if out.catalog, err = config.LoadCatalog(reg.File.Path, opts); err != nil {
			t.Fatalf("usher refuses the catalog: %v\n%s", err, r.Catalog)
		}
		services = append(services, sent(t, reg.Name, reg.File.Path)...)
	}
	if (r.Catalog == "") != (out.catalog == nil) {
		t.Errorf("the configuration and the catalog don't go together:\n%s\n%s", r.Config, r.Catalog)
	}
	rules := &routetable.Rules{
		Routes: cfg.Routes, Services: cfg.Services, Defaults: cfg.Defaults.Policy, Balancers: balance.All(),
	}
	out.table = routetable.Build(watcher.NewCatalog(1, services...), rules, nil)
	return out
}

// sent are the services that the file registry sends.
func sent(t testing.TB, registry, path string) (services []*watcher.Service) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, done := make(chan watcher.Update), make(chan struct{})
	go func() {
		defer close(done)
		_ = file.New(path, config.Options{Env: noEnv}, slog.New(slog.DiscardHandler)).Run(ctx, out)
	}()
	defer func() { cancel(); <-done }()
	for u := range out {
		if u.Report != nil && u.Report.Err != nil {
			t.Fatal(u.Report.Err)
		}
		if u.Service != "" {
			key := watcher.Key{Registry: registry, Service: u.Service}
			slices.SortFunc(u.Instances, func(a, b watcher.Instance) int { return strings.Compare(a.ID, b.ID) })
			services = append(services, &watcher.Service{Key: key, Instances: u.Instances})
		}
		if u.Report != nil && u.Report.Synced {
			return services
		}
	}
	return nil
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reached are the services a request for host/path reaches, joined by commas; empty:
// there is no route.
func (l *loaded) reached(target string) string {
	host, path, _ := strings.Cut(target, "/")
	bare, port, _ := strings.Cut(host, ":")
	r := l.table.Match(&routetable.Request{
		Listener: "web", Host: []byte(bare), Port: []byte(port), HostPort: []byte(host),
		Path: []byte("/" + path), Method: []byte("GET"), Header: func(string) []byte { return nil },
	})
	if r == nil {
		return ""
	}
	return strings.Join(servicesOf(r), ",")
}

// endpoints are the addresses behind a request's route with their parts of its traffic,
// as address=share.
func (l *loaded) endpoints(target string) (out []string) {
	host, path, _ := strings.Cut(target, "/")
	r := l.table.Match(&routetable.Request{
		Listener: "web", Host: []byte(host), HostPort: []byte(host), Path: []byte("/" + path),
		Method: []byte("GET"), Header: func(string) []byte { return nil },
	})
	if r == nil {
		return nil
	}
	var all float64
	for _, a := range r.Arms {
		all += a.Weight
	}
	for _, a := range r.Arms {
		var sum float64
		for _, e := range a.Cluster.Endpoints {
			sum += e.Weight
		}
		for _, e := range a.Cluster.Endpoints {
			share := a.Weight / all * e.Weight / sum
			out = append(out, e.Address+"="+number(round(share)))
		}
	}
	slices.Sort(out)
	return out
}

// has says whether the report has a note of a kind with these parts.
func has(list []Note, kind Kind, parts ...string) bool {
	return slices.ContainsFunc(list, func(n Note) bool {
		if n.Kind != kind {
			return false
		}
		for _, p := range parts {
			if !strings.Contains(n.Where+": "+n.Text, p) {
				return false
			}
		}
		return true
	})
}
