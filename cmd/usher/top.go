package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"usher/cmd/usher/internal/term"
	"usher/cmd/usher/internal/top"
)

// topFlags are those of top.
type topFlags struct {
	interval time.Duration
	once     bool
}

func (p *process) topCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "top", Short: "Show live what a running usher does", Args: cobra.NoArgs,
		Long: `Top shows a running usher and renews that: requests a second, answers by class, errors
by reason, latency, how fresh each registry is, and the services by their traffic with
the states of their instances. Figures are of the last interval.

Keys: q or Ctrl-C quits, the left and right arrows or tab choose the column to sort by, r
turns the order around, the arrows up and down scroll, p pauses. Where stdout is no
terminal a snapshot is printed each interval; with --once a single one.`,
	}
	f := &topFlags{}
	cmd.Flags().DurationVarP(&f.interval, "interval", "i", 2*time.Second, "time between two snapshots, 100ms at least")
	cmd.Flags().BoolVar(&f.once, "once", false, "print one snapshot and end")
	return p.asking(cmd, func(ctx context.Context, a *asker, _ []string) error {
		f.interval = max(f.interval, 100*time.Millisecond)
		s := &sampler{asker: a, interval: f.interval}
		in, isFile := cmd.InOrStdin().(*os.File)
		if !isFile || f.once || a.json || !term.IsTerminal(in) || !term.IsTerminal(p.stdout) {
			return s.print(ctx, f.once)
		}
		return s.live(ctx, in, p.stdout.(*os.File))
	})
}

// sampler asks a running usher again and again. Its methods belong to one goroutine.
type sampler struct {
	*asker
	interval time.Duration
	last     *top.Sample
	shown    *top.View // the last one
	// dear is the time before which the counters of the services are not asked for again:
	// an usher with thousands of them needs its time for other things.
	dear time.Time
}

// sample asks once.
func (s *sampler) sample(ctx context.Context) (*top.Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	now := &top.Sample{}
	if err := s.get(ctx, "/overview", &now.Overview); err != nil {
		return nil, err
	}
	now.At = now.Overview.Now
	if now.At.IsZero() {
		now.At = time.Now()
	}
	if s.shown != nil && time.Now().Before(s.dear) {
		now.Services, now.Traffic, now.Counted = s.last.Services, s.last.Traffic, s.last.Counted
		return now, nil
	}
	begin := time.Now()
	if err := s.get(ctx, "/services", &now.Services); err != nil {
		return nil, err
	}
	resp, err := s.request(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	now.Counted = now.At
	now.Traffic, err = top.ReadTraffic(resp.Body)
	const share = 10 // of the time it takes to be spent on it
	if took := time.Since(begin); took*share > s.interval {
		s.dear = time.Now().Add(took * share)
	}
	return now, err
}

// view asks, and tells what happened since the last time; nil: that was the first.
func (s *sampler) view(ctx context.Context) (*top.View, error) {
	now, err := s.sample(ctx)
	if err != nil {
		return nil, err
	}
	last := s.last
	s.last = now
	if last == nil {
		return nil, nil //nolint:nilnil // documented
	}
	v := top.Between(last, now)
	if s.shown != nil {
		v.History = s.shown.History
		if now.Counted.Equal(last.Counted) { // nothing newer is known of the services
			v.Services = slices.Clone(s.shown.Services)
		}
	}
	const remembered = 200
	v.History = append(slices.Clone(v.History), v.Requests)
	v.History = v.History[max(0, len(v.History)-remembered):]
	kept := *v // the view is its receiver's, who sorts it
	kept.Services = slices.Clone(v.Services)
	s.shown = &kept
	return v, nil
}

// print prints snapshots one after another, for a file or a pipe.
func (s *sampler) print(ctx context.Context, once bool) error {
	for {
		v, err := s.view(ctx)
		if ctx.Err() != nil {
			return nil // the user has seen enough
		}
		if err != nil {
			return err
		}
		if v != nil {
			if err := s.printView(v); err != nil || once {
				return err
			}
		}
		select {
		case <-time.After(s.interval):
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *sampler) printView(v *top.View) error {
	v.Sort(top.ByRequests, false)
	if s.json {
		return json.NewEncoder(s.p.stdout).Encode(v.JSON())
	}
	return s.out.Printf("%s\n\n", strings.Join(v.Lines(s.out, top.Layout{}), "\n"))
}

// news is what the goroutine that asks tells the one that draws.
type news struct {
	view *top.View
	err  error
}

// live draws until the user has seen enough. That nobody answers is a failure in the
// beginning only: later it is shown, and asked on.
func (s *sampler) live(ctx context.Context, in, out *os.File) (err error) {
	if _, err := s.view(ctx); err != nil {
		return err
	}
	screen, err := term.OpenScreen(in, out)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer func() {
		cancel()
		asking.Wait()
		err = errors.Join(err, screen.Close())
	}()
	told := make(chan news)
	asking.Go(func() { s.ask(ctx, told) })
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	d := &display{screen: screen, out: s.out}
	keys := screen.Keys(ctx)
	defer func() {
		cancel()
		for range keys { // until the reader has ended
		}
	}()
	return d.loop(ctx, keys, told, resized)
}

// ask hands out a view each interval until ctx ends.
func (s *sampler) ask(ctx context.Context, told chan<- news) {
	for {
		select {
		case <-time.After(s.interval):
		case <-ctx.Done():
			return
		}
		v, err := s.view(ctx)
		select {
		case told <- news{v, err}:
		case <-ctx.Done():
			return
		}
	}
}

// display is what is on the screen.
type display struct {
	screen  *term.Screen
	out     *term.Printer
	view    *top.View
	layout  top.Layout
	reverse bool
}

func (d *display) loop(
	ctx context.Context, keys <-chan term.Key, told <-chan news, resized <-chan os.Signal,
) error {
	d.layout.Keys = true
	for {
		if err := d.draw(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case k, ok := <-keys:
			if !ok || d.press(k) {
				return nil
			}
		case n := <-told:
			d.take(n)
		case <-resized:
			d.screen.Clear()
		}
	}
}

// take takes in what is new; while it is paused, nothing is.
func (d *display) take(n news) {
	switch {
	case n.err != nil:
		d.layout.Problem = n.err.Error()
	case !d.layout.Paused:
		d.layout.Problem, d.view = "", n.view
	}
}

// press does what a key is for; it returns true to quit.
func (d *display) press(k term.Key) (quit bool) {
	switch k {
	case 'q', 'Q', term.KeyInterrupt:
		return true
	case 'p', ' ':
		d.layout.Paused = !d.layout.Paused
	case 'r':
		d.reverse = !d.reverse
	case term.KeyRight, term.KeyTab:
		d.layout.Order = d.layout.Order.Next(1)
	case term.KeyLeft:
		d.layout.Order = d.layout.Order.Next(-1)
	case term.KeyDown:
		d.layout.From++
	case term.KeyUp:
		d.layout.From--
	}
	last := 0
	if d.view != nil {
		last = max(0, len(d.view.Services)-1)
	}
	d.layout.From = min(max(0, d.layout.From), last)
	return false
}

func (d *display) draw() error {
	columns, height := d.screen.Size()
	out := d.out.WithWidth(columns)
	d.layout.Height = height
	if d.view == nil {
		lines := []string{out.Fit("asking…"), out.Fit(term.Clean(d.layout.Problem))}
		return d.screen.Draw(lines)
	}
	d.view.Sort(d.layout.Order, d.reverse)
	return d.screen.Draw(d.view.Lines(out, d.layout))
}
