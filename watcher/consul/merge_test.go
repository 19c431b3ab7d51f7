package consul

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"usher/watcher"
	"usher/watcher/consul/consultest"
)

// say is what a coordinator sends of the service web, or of itself.
type say struct {
	name   string
	update watcher.Update
}

// in is an instance in a datacenter.
func in(dc, id string) watcher.Instance { return watcher.Instance{ID: dc + "/" + id, Datacenter: dc} }

// script is all that a datacenter says in the course of a start, and what is known of
// it in the end: its instances, or those from before.
type script struct {
	says []say
	has  []string
	// before says that what was known before stays, unsynced that it never is synced.
	before, unsynced bool
}

// scripts are the ways in which a datacenter may answer.
func scripts(dc string) map[string]script {
	answers := say{"answers", watcher.Update{Service: "web", Instances: []watcher.Instance{in(dc, "new")}}}
	empty := say{"is empty", watcher.Update{Service: "web"}}
	no := errors.New("no")
	unknown := say{"fails", watcher.Update{
		Service: "web", Unknown: true, Report: &watcher.Report{Err: no, Reason: "http_500", Partial: true},
	}}
	away := say{"is away", watcher.Update{Report: &watcher.Report{Err: no, Reason: "http_500"}}}
	answered := say{"is through", watcher.Update{Report: &watcher.Report{Answered: true}}}
	synced := say{"is synced", watcher.Update{Report: &watcher.Report{Answered: true, Synced: true}}}
	return map[string]script{
		"has it":            {says: []say{answers, synced}, has: []string{"new"}},
		"has none":          {says: []say{empty, synced}},
		"knows it not":      {says: []say{synced}},
		"fails":             {says: []say{unknown, synced}, before: true},
		"fails and is away": {says: []say{unknown, away, answered}, before: true, unsynced: true},
		"fails at first":    {says: []say{unknown, answered, answers, synced}, has: []string{"new"}},
		"loses it":          {says: []say{answers, synced, empty}},
		"is away":           {says: []say{away, answered}, before: true, unsynced: true},
		"comes late":        {says: []say{away, answered, answers, synced}, has: []string{"new"}},
	}
}

// model is what a Manager makes of a merger's updates, with instances known before in
// both datacenters.
type model struct {
	t         *testing.T
	instances []watcher.Instance
	// sent says that web was sent, synced and answered count the reports of it.
	sent             bool
	synced, answered int
}

func (m *model) take(u watcher.Update) {
	if u.Unknown {
		m.t.Errorf("unknown in all datacenters")
	}
	if u.Service != "" {
		m.sent = true
		stays := slices.DeleteFunc(slices.Clone(m.instances), func(in watcher.Instance) bool {
			return !slices.Contains(u.UnknownIn, in.Datacenter)
		})
		m.instances = append(slices.Clone(u.Instances), stays...)
	}
	if u.Report == nil {
		return
	}
	if u.Report.Answered {
		m.answered++
	}
	if u.Report.Synced {
		m.synced++
		if !m.sent {
			m.instances = nil
		}
	}
}

func (m *model) has(dc string) (ids []string) {
	for _, in := range m.instances {
		if in.Datacenter == dc {
			ids = append(ids, strings.TrimPrefix(in.ID, dc+"/"))
		}
	}
	return ids
}

// orders calls f with each order of what two datacenters say, as their places.
func orders(first, second int, f func(places []int)) {
	var next func(places []int, a, b int)
	next = func(places []int, a, b int) {
		if a == 0 && b == 0 {
			f(places)
		}
		if a > 0 {
			next(append(slices.Clone(places), 0), a-1, b)
		}
		if b > 0 {
			next(append(slices.Clone(places), 1), a, b-1)
		}
	}
	next(nil, first, second)
}

// TestMergeOrders: whatever two datacenters say of a service, in whatever order, in the
// end it has the instances of both, and before that no datacenter loses those it had
// until it has spoken for itself.
func TestMergeOrders(t *testing.T) {
	t.Parallel()
	names := []string{"dc1", "dc2"}
	for firstName, first := range scripts(names[0]) {
		for secondName, second := range scripts(names[1]) {
			t.Run(firstName+", "+secondName, func(t *testing.T) {
				both := []script{first, second}
				orders(len(first.says), len(second.says), func(places []int) { mergeInOrder(t, names, both, places) })
			})
		}
	}
}

// mergeInOrder lets two datacenters say what they have to in one order.
func mergeInOrder(t *testing.T, names []string, both []script, places []int) {
	t.Helper()
	out := make(chan watcher.Update, 100)
	m := newMerger(t.Context(), names, slog.New(slog.DiscardHandler), out)
	sees := &model{t: t, instances: []watcher.Instance{in(names[0], "old"), in(names[1], "old")}}
	spoke, said, told := [2]bool{}, [2]int{}, []string{}
	for _, place := range places {
		next := both[place].says[said[place]]
		said[place]++
		told = append(told, names[place]+" "+next.name)
		spoke[place] = spoke[place] || next.update.Service != "" && !next.update.Unknown ||
			next.update.Report != nil && next.update.Report.Synced && !both[place].before
		m.send(place, next.update)
		for len(out) > 0 {
			sees.take(<-out)
		}
		for i, dc := range names {
			if !spoke[i] && !slices.Equal(sees.has(dc), []string{"old"}) {
				t.Fatalf("%s had not spoken and has %q\nafter %q", dc, sees.has(dc), told)
			}
		}
	}
	synced := 0
	if !both[0].unsynced && !both[1].unsynced {
		synced = 1
	}
	if sees.synced != synced || sees.answered < 1 {
		t.Fatalf("%d times synced, %d times answered\nafter %q", sees.synced, sees.answered, told)
	}
	for i, dc := range names {
		want := both[i].has
		if both[i].before || synced == 0 && !sees.sent {
			want = []string{"old"}
		}
		if !slices.Equal(sees.has(dc), want) {
			t.Fatalf("%s has %q, want %q\nafter %q", dc, sees.has(dc), want, told)
		}
	}
}

// TestMergeReports: the registry is what its first datacenter is; the others fail for
// themselves, and that is logged when it begins and when it ends.
func TestMergeReports(t *testing.T) {
	t.Parallel()
	log := &lines{}
	out := make(chan watcher.Update, 100)
	m := newMerger(t.Context(), []string{"dc1", "dc2"}, log.logger(), out)
	report := func(place int, r watcher.Report) watcher.Report {
		t.Helper()
		given := r
		m.send(place, watcher.Update{Report: &given})
		if fmt.Sprint(given) != fmt.Sprint(r) {
			t.Errorf("the sender's report was changed: %+v", given)
		}
		return *(<-out).Report
	}
	no, three, four := errors.New("no"), 3, 4
	r := report(0, watcher.Report{Alive: true, Contact: "a", Index: 7, Seen: &three})
	if !r.Alive || r.Contact != "a" || r.Index != 7 || *r.Seen != 3 {
		t.Errorf("the first one: %+v", r)
	}
	r = report(1, watcher.Report{Alive: true, Contact: "b", Index: 8, Seen: &four})
	if r.Alive || r.Contact != "" || r.Index != 0 || *r.Seen != 7 {
		t.Errorf("the second one: %+v", r)
	}
	for range 3 {
		if r := report(1, watcher.Report{Err: no, Reason: "http_500"}); !r.Partial || !errors.Is(r.Err, no) {
			t.Errorf("the second one fails: %+v", r)
		}
	}
	report(1, watcher.Report{Err: no, Partial: true})
	report(1, watcher.Report{Watches: 1})
	if n := log.count("datacenter failed"); n != 1 {
		t.Errorf("one failure is logged %d times", n)
	}
	report(1, watcher.Report{Alive: true})
	report(1, watcher.Report{Alive: true})
	if n := log.count("datacenter answers again"); n != 1 {
		t.Errorf("its end is logged %d times", n)
	}
	if r := report(0, watcher.Report{Err: no}); r.Partial || r.Err == nil {
		t.Errorf("the first one fails: %+v", r)
	}
	if n := log.count("datacenter failed"); n != 1 {
		t.Error("the failure of the registry is logged as one of a datacenter")
	}
}

// TestMergeOne: one datacenter's updates pass as they are.
func TestMergeOne(t *testing.T) {
	t.Parallel()
	out := make(chan watcher.Update, 1)
	m := newMerger(t.Context(), []string{""}, slog.New(slog.DiscardHandler), out)
	u := watcher.Update{Service: "web", Unknown: true, Report: &watcher.Report{Synced: true, Index: 3}}
	m.send(0, u)
	if got := <-out; !got.Unknown || got.Report != u.Report || got.UnknownIn != nil {
		t.Errorf("got %+v", got)
	}
}

// TestDatacenters: a service has its instances of both datacenters; those of one that
// is away stay, and it keeps nobody from starting.
func TestDatacenters(t *testing.T) {
	t.Parallel()
	first := consultest.Start(t)
	second := consultest.Start(t, consultest.Datacenter("dc2"), consultest.JoinWAN(first))
	first.Register(registration("web", "urlprefix-/"))
	far := registration("web", "urlprefix-/")
	far.Port = 9002
	second.Register(far)
	second.Pass("web")
	c := conf(first.Addr())
	c.Datacenters = []string{"dc1", "dc2"}
	m := manage(t, c, nil)
	m.awaitSynced()
	m.await("web", 2, 0)
	m.forget()
	checkTiers(t, m)
	saved, ok := m.Snapshot()
	if !ok {
		t.Fatal("no snapshot")
	}

	second.Kill()
	consultest.Eventually(t, "its failure is logged", func() bool { return m.log.count("datacenter failed") == 1 })
	first.Register(registration("new", "urlprefix-/new"))
	m.await("new", 1, 0)
	m.await("web", 2, 0)

	fresh, restored := manage(t, c, nil), manage(t, c, saved)
	for name, m := range map[string]*managed{"fresh": fresh, "restored": restored} {
		ctx, cancel := context.WithTimeout(t.Context(), consultest.Patience)
		begin := time.Now()
		if late := m.Started(ctx); len(late) > 0 || ctx.Err() != nil {
			t.Errorf("%s: the start is late: %q after %v", name, late, time.Since(begin))
		}
		cancel()
		m.await("new", 1, 0)
	}
	fresh.await("web", 1, 0)
	restored.await("web", 2, 0)
	if m.Statuses()[0].Err != nil || fresh.Statuses()[0].Err != nil {
		t.Error("the registry is called failing for its second datacenter")
	}

	second.Restart()
	far.ID, far.Port = "web-2", 9003
	second.Register(far)
	for _, m := range []*managed{m, fresh, restored} {
		m.await("web", 3, 0)
		m.awaitSynced()
	}
	m.never("web", 2)
	restored.never("web", 2)
	if f, a := m.log.count("datacenter failed"), m.log.count("datacenter answers again"); f != 1 || a != 1 {
		t.Errorf("one outage is logged %d times, its end %d times", f, a)
	}
	second.Deregister("web-2")
	m.await("web", 2, 0)
}

func checkTiers(t *testing.T, m *managed) {
	t.Helper()
	for _, in := range m.status("web").Instances {
		want := map[string]uint8{"dc1": 0, "dc2": 2}[in.Datacenter]
		if in.Tier != want {
			t.Errorf("in %s: tier %d, want %d", in.Datacenter, in.Tier, want)
		}
	}
}
