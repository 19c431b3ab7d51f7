package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"usher/cmd/usher/internal/admin"
	"usher/cmd/usher/internal/admin/dashboard"
	"usher/cmd/usher/internal/api"
	"usher/cmd/usher/internal/events"
	"usher/cmd/usher/internal/traffic"
	"usher/config"
	"usher/healthcheck"
	"usher/metrics"
	"usher/metrics/tracing"
	"usher/proxy"
	"usher/proxy/certs"
	"usher/proxy/core"
	"usher/routetable"
	"usher/routetable/balance"
	"usher/watcher"
)

// app is a running usher: the stages, put together.
type app struct {
	log     *logging
	metrics *metrics.Set
	manager *watcher.Manager
	health  *healthcheck.Monitor
	proxy   *proxy.Proxy
	certs   *certs.Manager
	meshes  *meshes
	// tracer is nil while requests are not recorded.
	tracer *tracing.Tracer
	// access is the access log, and stdout and stderr what it may write to.
	access         accessLog
	stdout, stderr io.Writer
	// admin answers everything, telemetry the read-only part.
	admin, telemetry *admin.Server

	config atomic.Pointer[config.Config]
	opts   config.Options
	// past are the tables before.
	past *past
	// events are what happened of late, for operators.
	events events.Log
	// standing, traffic and catalogs are what else operators and clients are told.
	standing standing
	traffic  *traffic.Sampler
	catalogs catalogs
	// routesMade are the routes as they were told last.
	routesMade madeRoutes
	// health changes are gathered before they are told.
	transitions *transitions
	reloads     *reloads

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	// built is closed after the first table is in use.
	built chan struct{}
	// refused are the refusals logged already, rules those of the configuration
	// rulesFrom. They belong to the build goroutine.
	refused   map[routetable.Refusal]bool
	rules     *routetable.Rules
	rulesFrom *config.Config
	// balancers are the policies, the same for every configuration: what they sign
	// cookies with lives as long as the process.
	balancers map[string]routetable.Balancer

	// remembered is what the first table is built on: what the snapshot remembers.
	remembered *routetable.Table
	// published holds a token after a table was published, for the snapshot.
	published      chan struct{}
	snapshotFailed bool
	// present is what usher has in the registries, by their names.
	presenceMu sync.Mutex
	present    map[string]*presence
	// presences are those of present, for the build goroutine.
	presences atomic.Pointer[[]*presence]

	// obtained are the certificates that usher gets by itself.
	obtained obtained

	// bindings is closed when the listeners are bound.
	bindings chan struct{}
	drain    drainState
}

// newApp puts the stages together; nothing runs yet but the proxy's own
// goroutines. stop must be called.
func newApp(p *process, cfg *config.Config, opts config.Options) *app {
	set := metrics.New(version, core.Reasons())
	log := newLogging(p.stderr, cfg.Log, set.Process)
	manager := watcher.NewManager(log.Logger, set.Discovery)
	health := healthcheck.New(log.Logger, func(e *routetable.Endpoint) { manager.ReleaseInstance(e.Service, e.ID) })
	health.Report(set.Health)
	ctx, cancel := context.WithCancel(context.Background())
	a := &app{
		log: log, metrics: set, health: health,
		manager: manager,
		proxy:   proxy.New(log.Logger, set.Downstream, health),
		certs:   certs.New(certs.Options{Log: log.Logger, Metrics: set.TLS}),
		opts:    opts, ctx: ctx, cancel: cancel, past: newPast(cfg),
		built: make(chan struct{}), bindings: make(chan struct{}), refused: map[routetable.Refusal]bool{},
		published: make(chan struct{}, 1), present: map[string]*presence{}, balancers: balance.All(),
		standing: standing{started: time.Now()}, traffic: traffic.New(set.Downstream.Totals),
		transitions: newTransitions(), reloads: newReloads(),
	}
	a.access.app, a.stdout, a.stderr = a, p.stdout, p.stderr
	health.Watch(healthcheck.Watcher{Transition: a.transitions.add, Changed: a.catalogs.changed})
	manager.OnHold(a.tellHold)
	a.proxy.Secure(a.certs, set.TLS)
	a.obtained.app = a
	a.certs.Use(a.obtained.GetCertificate)
	a.config.Store(cfg)
	a.meshes = newMeshes(log.Logger, a.proxy.Pools(), set.TLS)
	health.ProbeMesh(a.proxy.Pools().MeshConfig)
	set.Register(a.proxy)
	a.trace(p.stdout)
	a.proxy.Limit(cfg.Limits)
	set.Downstream.Endpoints.Limit(cfg.Telemetry.UpstreamSeries)
	a.admin = admin.NewServer(admin.Handler(admin.Options{
		State: a, API: a, Metrics: set.Handler(), Events: &a.events, Asked: set.Admin.Asked,
		Dashboard: dashboard.Handler(),
	}), log.Logger)
	a.telemetry = admin.NewServer(admin.Handler(admin.Options{
		State: a, Metrics: set.Handler(), Asked: set.Admin.Asked,
	}), log.Logger)
	a.proxy.Remember(cfg.History.Requests)
	return a
}

// start brings usher up: the registries are asked, the first table is built, the
// listeners are bound. It returns when clients are served, or ctx ended.
func (a *app) start(ctx context.Context) error {
	cfg := a.config.Load()
	if err := a.listenAdmin(ctx, cfg); err != nil {
		return err
	}
	a.metrics.Process.ConfigTaken(cfg.Hash, time.Now(), true)
	a.standing.configTaken(cfg, time.Now())
	a.running.Go(func() { a.health.Run(a.ctx) })
	a.running.Go(func() { a.traffic.Run(a.ctx) })
	a.running.Go(func() { a.transitions.run(a.ctx, a.events.Add) })
	a.restore(cfg)
	a.applyCertificates(cfg)
	a.meshes.join(cfg)
	a.manager.Apply(a.sources(cfg), wantedServices(cfg))
	for _, name := range a.manager.Started(ctx) {
		a.log.Warn("registry did not answer in time; starting without it", "registry", name)
	}
	a.meshes.wait(ctx)
	a.manager.Touch(watcher.Cause{Kind: watcher.CauseStart, Detail: "configuration " + cfg.Hash})
	a.running.Go(a.buildTables)
	a.running.Go(a.remember)
	select {
	case <-a.built:
	case <-ctx.Done():
		return ctx.Err()
	}
	a.awaitCertificates(ctx, cfg)
	obtained, err := a.obtained.prepare(ctx, cfg)
	if err != nil {
		return err
	}
	a.obtained.use(obtained)
	access, err := a.access.prepare(cfg.AccessLog)
	if err != nil {
		return err
	}
	a.access.use(access, cfg.AccessLog)
	if err := a.proxy.Listen(cfg.Listeners); err != nil {
		return err
	}
	a.obtained.obtain(cfg)
	a.serving()
	a.running.Go(a.keepSnapshot)
	a.running.Go(func() { a.watchCertificates(a.ctx) })
	a.register(cfg)
	a.reportStart(cfg)
	return nil
}

func (a *app) listenAdmin(ctx context.Context, cfg *config.Config) error {
	if err := a.admin.Listen(ctx, cfg.Admin.Address); err != nil {
		return err
	}
	return a.telemetry.Listen(ctx, cfg.Telemetry.Address)
}

// wantedServices are the services that the configuration names.
func wantedServices(cfg *config.Config) []string {
	var names []string
	add := func(name string) {
		name, _, _ = strings.Cut(name, "@")
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, r := range cfg.Routes {
		add(r.Service)
		for _, arm := range r.Split {
			add(arm.Service)
		}
	}
	return names
}

// reload reads the configuration again and puts it in force as a whole, or not at
// all. path is that of the file.
func (a *app) reload(path string, saw func(string)) error {
	opts := a.opts
	opts.Saw = saw
	cfg, err := config.Load(path, opts)
	if err == nil {
		err = a.apply(cfg)
	}
	if err != nil {
		a.metrics.Process.ConfigRefused()
		a.standing.configRefused(asProblems(err), time.Now())
		a.events.Add(api.Event{Kind: "reload", Level: "error", Message: "configuration refused: " + err.Error()})
		for _, problem := range asProblems(err) {
			a.log.Error("configuration refused; the old one stays", "problem", problem.String())
		}
		return err
	}
	a.metrics.Process.ConfigTaken(cfg.Hash, time.Now(), false)
	a.standing.configTaken(cfg, time.Now())
	a.events.Add(api.Event{Kind: "reload", Message: "configuration reloaded, " + cfg.Hash})
	a.log.Info("configuration reloaded", "hash", cfg.Hash)
	a.reportWarnings(cfg)
	return nil
}

// apply puts a configuration in force. What can fail comes first.
func (a *app) apply(cfg *config.Config) error {
	old := a.config.Load()
	access, err := a.access.prepare(cfg.AccessLog)
	if err != nil {
		return err
	}
	obtained, err := a.obtained.prepare(a.ctx, cfg)
	if err != nil {
		a.access.drop(access)
		return err
	}
	a.applyCertificates(cfg)
	if err := a.proxy.Listen(cfg.Listeners); err != nil {
		a.access.drop(access)
		a.obtained.drop(obtained)
		a.applyCertificates(old)
		return err
	}
	if err := a.listenAdmin(a.ctx, cfg); err != nil {
		a.access.drop(access)
		a.obtained.drop(obtained)
		a.applyCertificates(old)
		return errors.Join(err, a.listenAdmin(a.ctx, old), a.proxy.Listen(old.Listeners))
	}
	a.access.use(access, cfg.AccessLog)
	a.obtained.use(obtained)
	a.obtained.obtain(cfg)
	if old.Log.Format != cfg.Log.Format {
		a.log.Warn("log.format changes at the next start", "now", old.Log.Format)
	}
	a.log.setLevel(cfg.Log)
	a.proxy.Limit(cfg.Limits)
	a.metrics.Downstream.Endpoints.Limit(cfg.Telemetry.UpstreamSeries)
	a.config.Store(cfg)
	a.meshes.join(cfg)
	a.manager.Apply(a.sources(cfg), wantedServices(cfg))
	a.manager.Touch(watcher.Cause{Kind: watcher.CauseReload, Detail: "configuration " + cfg.Hash})
	a.past.log.Keep(cfg.History.Generations)
	a.proxy.Remember(cfg.History.Requests)
	a.reloadedUnderPin()
	a.register(cfg)
	return nil
}

// asProblems returns the problems in err, or err as one.
func asProblems(err error) config.Errors {
	var problems config.Errors
	if errors.As(err, &problems) {
		return problems
	}
	return config.Errors{{Msg: err.Error()}}
}

// drainToStop stops usher without losing a request. First it is unready and each
// response ends its connection, while new ones are taken for the drain_delay; then
// no more are, and what runs is given the drain_timeout. It returns the number of
// connections that were cut. force ends either wait.
func (a *app) drainToStop(force <-chan struct{}) (cut int) {
	d := a.config.Load().Defaults
	a.beginStop()
	a.log.Info("draining", "delay", d.DrainDelay, "timeout", d.DrainTimeout)
	var told sync.WaitGroup
	defer told.Wait()
	told.Go(a.announceDrain)
	select {
	case <-time.After(d.DrainDelay):
	case <-force:
	}
	ctx, cancel := context.WithTimeout(context.Background(), d.DrainTimeout)
	defer cancel()
	stop := context.AfterFunc(contextOf(ctx, force), cancel)
	defer stop()
	return a.proxy.Shutdown(ctx)
}

// contextOf returns a context that ends with parent or when c is closed.
func contextOf(parent context.Context, c <-chan struct{}) context.Context {
	ctx, cancel := context.WithCancel(parent)
	go func() {
		defer cancel()
		select {
		case <-c:
		case <-parent.Done():
		}
	}()
	return ctx
}

// stop ends everything and waits for it.
func (a *app) stop() {
	a.leaveRegistries()
	a.cancel()
	a.obtained.close()
	a.running.Wait() // the last snapshot asks the manager
	a.manager.Close()
	a.meshes.leave()
	a.proxy.Close()
	a.endTracing()
	a.access.close()
	a.certs.Close()
	a.admin.Close()
	a.telemetry.Close()
}

// Ready implements admin.State.
func (a *app) Ready() (bool, string) {
	switch {
	case a.drains():
		return false, "draining"
	case a.bound():
		return true, ""
	default:
		return false, "starting: waiting for the registries"
	}
}

// Profiling implements admin.State.
func (a *app) Profiling() bool { return a.config.Load().Admin.Pprof }

// Details implements admin.State.
func (a *app) Details() []string {
	var lines []string
	for _, s := range a.manager.Statuses() {
		line := "registry " + s.String()
		if !s.LastContact.IsZero() {
			line += ", last contact " + s.LastContact.UTC().Format(time.RFC3339)
		}
		lines = append(lines, line)
	}
	lines = append(lines, a.meshes.details()...)
	t := a.proxy.Table()
	routes, refused := len(t.Routes()), len(t.Refused())
	return append(lines, fmt.Sprintf("table %d: %d routes, %d rules refused", t.Version, routes, refused))
}
