package watcher_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"usher/metrics"
	"usher/watcher"
)

// double is a Discoverer of which the test says what it sends and when it fails.
type double struct {
	// feed takes an Update, which is sent, or an error, with which Run returns.
	feed chan any
	// lingers is how long Run takes to end after its context.
	lingers time.Duration

	mu   sync.Mutex
	runs []time.Time
}

func newDouble() *double { return &double{feed: make(chan any)} }

// Run implements watcher.Discoverer.
func (d *double) Run(ctx context.Context, out chan<- watcher.Update) error {
	d.mu.Lock()
	d.runs = append(d.runs, time.Now())
	d.mu.Unlock()
	for {
		select {
		case x := <-d.feed:
			if err, ok := x.(error); ok {
				return err
			}
			select {
			case out <- x.(watcher.Update):
			case <-ctx.Done():
			}
		case <-ctx.Done():
			<-time.After(d.lingers)
			return ctx.Err()
		}
	}
}

// started returns when each of d's runs began.
func (d *double) started() []time.Time {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.runs)
}

// source makes d a Source.
func (d *double) source(name string, spec any) watcher.Source {
	return watcher.Source{
		Name: name, Spec: spec, StartTimeout: 10 * time.Second,
		New: func() (watcher.Discoverer, error) { return d, nil },
	}
}

// wanting is a double that is a Wanter, too.
type wanting struct {
	*double
	wants chan []string
}

func newWanting() *wanting { return &wanting{newDouble(), make(chan []string, 16)} }

// Want implements watcher.Wanter.
func (d *wanting) Want(services []string) { d.wants <- services }

func (d *wanting) source(name string, spec any) watcher.Source {
	s := d.double.source(name, spec)
	s.New = func() (watcher.Discoverer, error) { return d, nil }
	return s
}

// gated is a double whose Want blocks while the gate is shut.
type gated struct {
	*double
	shut atomic.Bool
	gate chan struct{}
}

// Want implements watcher.Wanter.
func (d *gated) Want([]string) {
	if d.shut.Load() {
		<-d.gate
	}
}

// bench is a Manager in a synctest bubble and what the tests do with it.
type bench struct {
	*watcher.Manager
	t       *testing.T
	metrics *metrics.Set
	log     *logbook
	version uint64
}

// inBubble runs a test of a Manager with a clock of its own.
func inBubble(t *testing.T, f func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		set := metrics.New("test", nil)
		log := &logbook{}
		b := &bench{watcher.NewManager(slog.New(log), set.Discovery), t, set, log, 0}
		defer b.Close()
		f(b)
	})
}

// send makes the double send updates, and waits until they are merged.
func (b *bench) send(d *double, updates ...watcher.Update) {
	for _, u := range updates {
		d.feed <- u
	}
	synctest.Wait()
}

// fail makes the double's run end with an error.
func (b *bench) fail(d *double, err error) {
	d.feed <- err
	synctest.Wait()
}

// next returns the catalog that is ready, nil for none, and since when it is.
func (b *bench) next() (*watcher.Catalog, map[string]time.Time) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	var change watcher.Change
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		change, err = b.Next(ctx)
	}()
	synctest.Wait() // it has a catalog, or there is none: no time passes
	cancel()
	<-done
	if errors.Is(err, context.Canceled) {
		return nil, nil
	}
	if err != nil {
		b.t.Fatal(err)
	}
	if c := change.Catalog; c.Version != b.version+1 {
		b.t.Errorf("version %d after %d", c.Version, b.version)
	}
	b.version = change.Catalog.Version
	return change.Catalog, change.Since
}

// want fails unless a new catalog is there and holds these lines.
func (b *bench) want(lines ...string) {
	b.t.Helper()
	c, _ := b.next()
	if c == nil {
		b.t.Fatalf("nothing new, want %q", lines)
	}
	if got := dump(c); !slices.Equal(got, lines) {
		b.t.Fatalf("got  %q\nwant %q", got, lines)
	}
}

// wantNothing fails if a new catalog is there.
func (b *bench) wantNothing() {
	b.t.Helper()
	if c, _ := b.next(); c != nil {
		b.t.Fatalf("a catalog without a change: %q", dump(c))
	}
}

// gauge returns the value of a discovery gauge of a registry; ok is false when
// there is no such series.
func (b *bench) gauge(name, registry string) (value float64, ok bool) {
	b.t.Helper()
	families, err := b.metrics.Gatherer().Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "usher_discovery_"+name && m.GetLabel()[0].GetValue() == registry {
				return m.GetGauge().GetValue(), true
			}
		}
	}
	return 0, false
}

// logbook is a slog.Handler that keeps what is logged, a line a record.
type logbook struct {
	mu    sync.Mutex
	lines []string
}

// Enabled implements slog.Handler.
func (l *logbook) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (l *logbook) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	return nil
}

// WithAttrs implements slog.Handler; the Manager uses none.
func (l *logbook) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements slog.Handler; the Manager uses none.
func (l *logbook) WithGroup(string) slog.Handler { return l }

// take returns the lines logged since the last call.
func (l *logbook) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	l.lines = nil
	return lines
}

// dump writes a catalog, a line a service: name@registry and its instances.
func dump(c *watcher.Catalog) []string {
	lines := make([]string, 0, len(c.Services()))
	for _, s := range c.Services() {
		lines = append(lines, s.String()+instances(s.Instances))
	}
	return lines
}

func instances(list []watcher.Instance) string {
	var b strings.Builder
	for _, in := range list {
		fmt.Fprintf(&b, " %s=%s", in.ID, in.Address)
	}
	return b.String()
}

// update is an Update of a service with these instances, written id=address.
func update(service string, list ...string) watcher.Update {
	u := watcher.Update{Service: service}
	for _, text := range list {
		id, address, _ := strings.Cut(text, "=")
		u.Instances = append(u.Instances, watcher.Instance{ID: id, Address: address, Weight: 1})
	}
	return u
}

func synced() watcher.Update { return alive(watcher.Report{Synced: true}) }

// alive is a report of a registry that is well.
func alive(r watcher.Report) watcher.Update {
	r.Alive = true
	return watcher.Update{Report: &r}
}

func seen(n int) *int { return &n }

func failed(err error) watcher.Update {
	return watcher.Update{Report: &watcher.Report{Err: err, Reason: "test"}}
}
