package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"usher/watcher"
)

// double is a Discoverer that sends what the test feeds it.
type double struct {
	// feed takes an Update, which is sent, or an error, with which Run returns.
	feed chan any
}

// Run implements watcher.Discoverer.
func (d *double) Run(ctx context.Context, out chan<- watcher.Update) error {
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
			return ctx.Err()
		}
	}
}

// book is a double of lookup: it answers as the test wrote, and notes when.
type book struct {
	mu      sync.Mutex
	pages   map[string]page
	asked   map[string][]time.Time
	at, max int
}

// page is what a book says of a host, and how long it takes to say it.
type page struct {
	answer
	takes time.Duration
}

var errNone = &net.DNSError{Err: "no such host", IsNotFound: true}

func (k *book) lookup(ctx context.Context, host string) answer {
	k.mu.Lock()
	p, ok := k.pages[host]
	k.asked[host] = append(k.asked[host], time.Now())
	k.at++
	k.max = max(k.max, k.at)
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		k.at--
		k.mu.Unlock()
	}()
	if !watcher.Sleep(ctx, p.takes) {
		return answer{err: ctx.Err()}
	}
	if !ok {
		return answer{err: errNone}
	}
	return p.answer
}

// write makes the book say these addresses of a host, for a TTL.
func (k *book) write(host string, ttl time.Duration, addrs ...string) {
	k.set(host, page{answer: answer{ttl: ttl, addrs: ips(addrs...)}})
}

func (k *book) set(host string, p page) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pages[host] = p
}

// count returns how often a host was asked for.
func (k *book) count(host string) int { return len(k.times(host)) }

// times returns when a host was asked for.
func (k *book) times(host string) []time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.asked[host])
}

// most returns how many lookups were under way at a time since the last call.
func (k *book) most() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.max
	k.max = k.at
	return n
}

func ips(texts ...string) (out []netip.Addr) {
	for _, text := range texts {
		out = append(out, netip.MustParseAddr(text))
	}
	return out
}

// bench is a wrapped double that runs, with a clock of its own.
type bench struct {
	*book
	t    *testing.T
	feed chan any
	stop context.CancelFunc
	// ended takes the result of Run.
	ended chan error

	got []watcher.Update
	gmu sync.Mutex
}

// inBubble runs a test of a wrapped double.
func inBubble(t *testing.T, f func(b *bench)) {
	t.Helper()
	inBubbleWith(t, Options{}, f)
}

func inBubbleWith(t *testing.T, opts Options, f func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		d := &double{make(chan any)}
		b := &bench{
			book: &book{pages: map[string]page{}, asked: map[string][]time.Time{}},
			t:    t, feed: d.feed, stop: cancel, ended: make(chan error, 1),
		}
		out := make(chan watcher.Update)
		go func() {
			defer close(out)
			b.ended <- wrap(d, opts.withDefaults(), b.lookup).Run(ctx, out)
		}()
		go func() {
			for u := range out {
				b.gmu.Lock()
				b.got = append(b.got, u)
				b.gmu.Unlock()
			}
		}()
		f(b)
		cancel()
		synctest.Wait()
	})
}

// send has the double send updates; after each it waits until nothing moves.
func (b *bench) send(updates ...watcher.Update) {
	for _, u := range updates {
		b.feed <- u
		synctest.Wait()
	}
}

// pass lets time pass.
func (b *bench) pass(d time.Duration) {
	watcher.Sleep(b.t.Context(), d)
	synctest.Wait()
}

// next returns what was sent since the last call.
func (b *bench) next() []watcher.Update {
	b.gmu.Lock()
	defer b.gmu.Unlock()
	got := b.got
	b.got = nil
	return got
}

// want checks what was sent since the last check, a line for each update.
func (b *bench) want(what string, lines ...string) []watcher.Update {
	b.t.Helper()
	got := b.next()
	var text []string
	for _, u := range got {
		text = append(text, line(u))
	}
	if !slices.Equal(text, lines) {
		b.t.Fatalf("%s:\ngot  %q\nwant %q", what, text, lines)
	}
	return got
}

// line says what is in an update: its service and instances, and its report.
func line(u watcher.Update) string {
	s := u.Service
	if u.Unknown {
		s += " unknown"
	}
	for _, in := range u.Instances {
		s += fmt.Sprintf(" %s=%s", in.ID, in.Address)
		if in.Weight != 1 {
			s += fmt.Sprintf("*%v", in.Weight)
		}
	}
	if u.Overrides != nil {
		s += "overrides"
	}
	r := u.Report
	if r == nil {
		return s
	}
	for _, f := range []struct {
		word string
		set  bool
	}{
		{"alive", r.Alive},
		{"answered", r.Answered},
		{"synced", r.Synced},
		{r.Reason, r.Err != nil},
		{"partial", r.Partial},
		{r.Contact, r.Contact != ""},
	} {
		if f.set {
			s += "!" + f.word
		}
	}
	return s
}

// update is one of a service with an instance, of weight 1, at each address; their
// IDs are the service's name and a letter.
func update(service string, addresses ...string) watcher.Update {
	u := watcher.Update{Service: service, Since: time.Now()}
	for i, address := range addresses {
		u.Instances = append(u.Instances, watcher.Instance{
			ID: service + string(rune('a'+i)), Address: address, Weight: 1,
		})
	}
	return u
}

func with(u watcher.Update, r watcher.Report) watcher.Update {
	u.Report = &r
	return u
}

func report(r watcher.Report) watcher.Update { return watcher.Update{Report: &r} }

var errBroken = errors.New("broken")
