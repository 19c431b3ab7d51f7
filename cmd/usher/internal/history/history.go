// Package history remembers the routing tables of the recent past: when each came into
// use, why, and what it changed.
//
// It keeps what tables were made of (routetable.Past), not the tables. Those would keep
// the clusters, connection pools and series of everything that ever left; the pasts share
// all services that did not change.
package history

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"usher/routetable"
	"usher/watcher"
)

// maxChanges is how many changes of one generation are remembered one by one, maxCauses
// how many causes; maxWeight bounds what all generations hold beside what is in use, by the
// changes that took its place. The oldest go first.
const (
	maxChanges = 1_000
	maxCauses  = 100
	maxWeight  = 50_000
)

// Generation is a table, or several in a row that were the same. It is immutable.
type Generation struct {
	// Number is the table's version, Last that of the last one in a row with nothing
	// changed.
	Number, Last uint64
	// At is when it came into use, Took how long it took to build.
	At   time.Time
	Took time.Duration
	// Causes are why it was built, More is how many more there were.
	Causes []watcher.Cause
	More   int
	// Changes are those from the generation before, Dropped is how many more there were.
	Changes []routetable.Change
	Dropped int
	// Summary is the changes in a few words.
	Summary string
	// Routes is how many it has.
	Routes int
	// Past is what it was made of.
	Past *routetable.Past
}

// Log remembers the last generations. Its methods may be called from any goroutine.
type Log struct {
	mu   sync.Mutex
	keep int
	// list is in the order of the numbers; weight is the sum of all changes but the first's.
	list   []*Generation
	weight int
	// told is closed and replaced when a table was added.
	told chan struct{}
}

// New returns an empty Log of as many generations; the last one is always kept.
func New(keep int) *Log { return &Log{keep: max(keep, 1), told: make(chan struct{})} }

// Keep changes how many generations are kept.
func (l *Log) Keep(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep = max(n, 1)
	l.trim()
}

// Table is a table that came into use.
type Table struct {
	// Before was in use until then.
	Before, Now *routetable.Table
	At          time.Time
	Took        time.Duration
	Causes      []watcher.Cause
	More        int
}

// Add takes in the next table and returns its generation. It compares the two tables, which
// takes time where much changed. One that differs in nothing from the last is a part of
// that generation; news says that it is not. Tables are added in their order.
func (l *Log) Add(t Table) (g *Generation, news bool) {
	changes := routetable.Diff(t.Before, t.Now)
	g = &Generation{
		Number: t.Now.Version, Last: t.Now.Version, At: t.At, Took: t.Took, Causes: t.Causes, More: t.More,
		Changes: changes, Summary: Summary(changes), Routes: count(t.Now), Past: t.Now.Past(),
	}
	if len(changes) > maxChanges {
		g.Dropped = len(changes) - maxChanges
		g.Changes = slices.Clone(changes[:maxChanges])
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if news = len(changes) > 0 || len(l.list) == 0; news {
		if l.list = append(l.list, g); len(l.list) > 1 {
			l.weight += g.weight()
		}
	} else {
		g = l.extend(g)
	}
	l.trim()
	close(l.told)
	l.told = make(chan struct{})
	return g, news
}

func count(t *routetable.Table) (n int) {
	for _, routes := range t.Counts().Routes {
		n += routes
	}
	return n
}

// extend makes the last generation one that holds g, in which nothing changed.
func (l *Log) extend(g *Generation) *Generation {
	last := *l.list[len(l.list)-1]
	last.Last, last.Past, last.More = g.Number, g.Past, last.More+g.More
	last.Causes = slices.Concat(last.Causes, g.Causes)
	if over := len(last.Causes) - maxCauses; over > 0 {
		last.Causes, last.More = last.Causes[:maxCauses], last.More+over
	}
	l.list[len(l.list)-1] = &last
	return &last
}

// weight is how much the generation before holds that this one does not.
func (g *Generation) weight() int { return len(g.Changes) + g.Dropped }

// trim forgets the oldest. The caller holds l.mu.
func (l *Log) trim() {
	n := 0
	for n < len(l.list)-1 && (len(l.list)-n > l.keep || l.weight > maxWeight) {
		n++
		l.weight -= l.list[n].weight()
	}
	l.list = slices.Delete(l.list, 0, n)
}

// All returns the generations, the newest first.
func (l *Log) All() []*Generation {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := slices.Clone(l.list)
	slices.Reverse(out)
	return out
}

// Find returns the generation that the table of a number belongs to, nil when it is not
// remembered.
func (l *Log) Find(number uint64) *Generation {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, _ := slices.BinarySearchFunc(l.list, number, func(g *Generation, n uint64) int { return cmp.Compare(g.Last, n) })
	if i == len(l.list) || l.list[i].Number > number {
		return nil
	}
	return l.list[i]
}

// Between returns the generations that came into use from one moment to another, the
// newest first, and behind them the one that was in use when the time began.
func (l *Log) Between(from, to time.Time) (out []*Generation) {
	for _, g := range l.All() {
		if !g.At.Before(to) {
			continue
		}
		out = append(out, g)
		if g.At.Before(from) {
			break
		}
	}
	return out
}

// Await waits until the table of that number was added, or ctx ends.
func (l *Log) Await(ctx context.Context, number uint64) {
	for {
		l.mu.Lock()
		told, there := l.told, len(l.list) > 0 && l.list[len(l.list)-1].Last >= number
		l.mu.Unlock()
		if there {
			return
		}
		select {
		case <-told:
		case <-ctx.Done():
			return
		}
	}
}

// Summary says in a few words what changes there are: "2 routes added, 1 instance changed".
func Summary(changes []routetable.Change) string {
	if len(changes) == 0 {
		return "nothing changed"
	}
	type group struct{ what, kind string }
	n := map[group]int{}
	var order []group
	for _, c := range changes {
		g := group{c.What, c.Kind}
		if n[g]++; n[g] == 1 {
			order = append(order, g)
		}
	}
	parts := make([]string, len(order))
	for i, g := range order {
		parts[i] = fmt.Sprintf("%d %s %s", n[g], plural(g.what, n[g]), g.kind)
	}
	return strings.Join(parts, ", ")
}

func plural(word string, n int) string {
	if n == 1 || strings.HasSuffix(word, "s") {
		return word
	}
	return word + "s"
}
